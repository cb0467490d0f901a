// The charts: a card for each model in a setting, with a plot for each number of threads.
window.cellfarm.then((shared) => {
  "use strict";
  const { report, el, theme, onTheme, onFlagged, onView, matching, narrowing } = shared;
  const sections = [...document.querySelectorAll("section[data-chart]")];
  if (!sections.length || !onView) return;
  const CARDS = 12; // the cards of a chart before "Show more"
  const log = document.getElementById("log");
  document.getElementById("chart-controls").hidden = false;

  const plots = new Map(); // element -> what it shows, and its view once it is drawn

  const placed = (cells) => {
    const byPlace = new Map();
    for (const cell of cells) {
      const place = JSON.stringify([cell.setting, cell.model, cell.threads]);
      if (!byPlace.has(place)) byPlace.set(place, []);
      byPlace.get(place).push(cell);
    }
    return byPlace;
  };

  const formatTooltip = (value, sanitize) => {
    const rows = Object.entries(value).map(([name, text]) => {
      const known = text === null || text === "null" || text === "" ? "n/a" : text;
      return `<tr><td class="key">${sanitize(name)}</td><td class="value">${sanitize(known)}</td></tr>`;
    });
    return `<table><tbody>${rows.join("")}</tbody></table>`;
  };

  // A specification with its data, and values for its parameters (see axes.py).
  const filled = (spec, values, parameters) => ({
    ...spec,
    data: { values },
    params: spec.params.map((param) => ({ ...param, value: parameters[param.name] ?? param.value })),
    // A number: with a step, Vega-Lite warns of every plot that its height does not fit.
    height: spec.height.step ? spec.height.step * new Set(values.map((cell) => cell.label)).size : spec.height,
  });

  const specification = (element, { chart, panel, values }) => {
    const spec = (log.checked && report.log_specs[chart]) || report.specs[chart];
    const [least, most] = panel.extents[chart];
    const heading = document.getElementById(`${chart}-h`).textContent;
    return {
      ...filled(spec, values, { least, most, panel_width: element.clientWidth }),
      description: `${heading} of ${panel.model} by library, ${values[0].threads} threads`,
    };
  };

  const draw = async (element) => {
    const plot = plots.get(element);
    if (!plot) return;
    const turn = (plot.turn = (plot.turn ?? 0) + 1);
    plot.wanted = true;
    const result = await window.vegaEmbed(element, plot.specification(element, plot), {
      renderer: "svg",
      actions: { export: true, source: false, compiled: false, editor: false },
      downloadFileName: plot.name,
      config: report.configs[theme()],
      tooltip: { theme: theme(), formatTooltip },
    });
    // Discard this drawing if the plot was drawn again or removed meanwhile.
    if (plot.turn !== turn || !plots.has(element)) return result.finalize();
    plot.result?.finalize();
    plot.result = result;
    result.view.addEventListener("click", (event, item) => { if (item?.datum?.key) shared.open(item.datum); });
    element.dataset.drawn = theme();
    return undefined;
  };

  const observer = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        draw(target);
      }
    },
    { rootMargin: "600px" },
  );

  const release = (within) => {
    for (const [element, plot] of plots) {
      if (!within.contains(element)) continue;
      observer.unobserve(element);
      plot.result?.finalize();
      plots.delete(element);
    }
  };
  shared.addPlot = (element, plot) => { plots.set(element, plot); observer.observe(element); };

  // The card of a panel: a plot for each number of threads that has cells.
  const cardOf = (chart, panel, byPlace, several) => {
    const card = el("article", { class: "card" }, el("h3", {}, narrowing({ model: panel.model }, panel.model)));
    if (several) card.append(el("p", { class: "setting" }, report.settings[panel.setting]));
    for (const number of chart === "operators" ? panel.profiled_threads : panel.threads) {
      const values = byPlace.get(JSON.stringify([panel.setting, panel.model, number]));
      if (!values) continue;
      card.append(el("h4", {}, `${number} ${number === 1 ? "thread" : "threads"}`));
      // Without any value, an axis has no ends.
      if (!values.some((cell) => cell[report.chart_values[chart]] !== null)) {
        card.append(el("p", { class: "muted" }, values.map((cell) => `${cell.label}: ${cell.cell_text}`).join(", ")));
        continue;
      }
      const element = el("div", { class: "plot" });
      card.append(element);
      const setting = report.settings[panel.setting].replaceAll(" · ", "-");
      shared.addPlot(element, { chart, panel, values, specification, name: `${chart}--${panel.model}--${setting}-t${number}` });
    }
    return card;
  };

  const fill = (section, byPlace, limit = CARDS) => {
    const chart = section.dataset.chart;
    const cards = section.querySelector(".cards");
    release(cards);
    const numbers = (panel) => (chart === "operators" ? panel.profiled_threads : panel.threads);
    const panels = report.panels.filter((panel) => panel.extents[chart] &&
      numbers(panel).some((number) => byPlace.has(JSON.stringify([panel.setting, panel.model, number]))));
    const several = new Set(panels.map((panel) => panel.setting)).size > 1;
    const missing = chart === "operators"
      ? "No operators were timed here: the protocol does not list the measure operators, or the profiling launches failed; the table says why."
      : "Nothing of this was measured here.";
    cards.replaceChildren(...panels.slice(0, limit).map((panel) => cardOf(chart, panel, byPlace, several)));
    if (!panels.length) cards.append(el("p", { class: "note" }, missing));
    if (panels.length <= limit) return;
    const more = el("button", { type: "button" }, `Show more (${panels.length - limit} left)`);
    more.addEventListener("click", () => fill(section, byPlace, limit + 2 * CARDS));
    cards.append(more);
  };

  // Each figure beside the page shows a single setting.
  const offerFiles = (matches) => {
    const settings = [...new Set(matches.map((cell) => cell.setting))];
    for (const files of document.querySelectorAll(".files")) {
      const name = `${files.dataset.chart}${report.figure_suffixes[settings[0]]}`;
      files.hidden = settings.length !== 1 || !report.figures.includes(name);
      for (const link of files.children) link.href = `charts/${encodeURIComponent(name)}.${link.dataset.type}`;
    }
  };

  let built = null; // the cells that the charts are of
  const build = () => {
    const { matches } = built;
    const byPlace = placed(matches);
    // Operators were timed at a single number of threads: that filter does not apply to them.
    const anyThreads = placed(matching("threads"));
    for (const section of sections) fill(section, section.dataset.chart === "operators" ? anyThreads : byPlace);
    offerFiles(matches);
  };

  // Plots that were not drawn yet wait until they come near the view.
  const redraw = (which = () => true) => {
    for (const [element, plot] of plots) {
      if (!plot.wanted || !which(plot)) continue;
      if (element.clientWidth) draw(element);
      else observer.observe(element); // it has no width while a cell is open
    }
  };

  log.addEventListener("change", () => redraw((plot) => plot.chart in report.log_specs));
  onTheme(() => redraw());
  onFlagged(() => redraw());
  // The axes depend on the width, which changes when a phone is turned.
  let width = innerWidth;
  let resizeTimer;
  addEventListener("resize", () => {
    clearTimeout(resizeTimer);
    resizeTimer = setTimeout(() => {
      if (innerWidth !== width) redraw();
      width = innerWidth;
    }, 250);
  });
  // Draw all plots before the page is printed.
  addEventListener("beforeprint", () => {
    for (const [element, plot] of plots) if (!plot.wanted) draw(element);
  });
  Object.assign(shared, { filled, release });
  let buildTimer;
  onView((view) => {
    const same = built && built.matches.length === view.matches.length && built.matches.every((cell, i) => cell === view.matches[i]);
    if (view.cell || same) return;
    // Draw once for letters typed in quick succession.
    clearTimeout(buildTimer);
    const wait = built ? 150 : 0;
    built = view;
    if (wait) buildTimer = setTimeout(build, wait);
    else build();
  });
});
