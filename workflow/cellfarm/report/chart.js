// The charts: for each model a card, in it one plot for each number of threads, on one axis.
(() => {
  "use strict";
  const { report, cells, el, theme, onTheme, onFlagged } = window.cellfarm;
  const sections = [...document.querySelectorAll("section[data-chart]")];
  if (!sections.length) return;
  const setting = document.getElementById("setting");
  const threads = document.getElementById("threads");
  const log = document.getElementById("log");
  document.getElementById("chart-controls").hidden = false;

  // Long names are cut rather than the plot: half of a phone's width at most goes to them.
  const widest = Math.max(...report.labels.map((label) => label.length));
  const labelWidth = Math.min(130, 10 + 6.8 * widest);
  // As figures._TEXT_WIDTHS: what the number at the end of a mark takes.
  const TEXT_WIDTHS = { operators: 116, sustained: 0, calibration: 0 };
  const textWidth = (chart) => TEXT_WIDTHS[chart] ?? 66;
  const plots = new Map(); // element -> what it shows, and its view once it was drawn

  // What else depends on the chosen setting and threads: called with both at every change.
  const listeners = [];
  window.cellfarm.onChoice = (listener) => { listeners.push(listener); build(); };
  window.cellfarm.addPlot = (element, plot) => plots.set(element, plot);

  const byPlace = new Map();
  for (const cell of cells) {
    const place = JSON.stringify([cell.setting, cell.model, cell.threads]);
    if (!byPlace.has(place)) byPlace.set(place, []);
    byPlace.get(place).push(cell);
  }

  const onLogAxis = (node) => {
    if (Array.isArray(node)) return node.forEach(onLogAxis);
    if (node === null || typeof node !== "object") return undefined;
    if (node.scale?.domainMin?.expr === "x_min") Object.assign(node.scale, { type: "log", zero: undefined });
    return Object.values(node).forEach(onLogAxis);
  };

  // As figures.axis_range: room for the number at the end of the longest mark.
  const axisRange = (chart, [least, most], width) => {
    const plot = Math.max(120, width - labelWidth);
    const room = plot / (plot - Math.min(textWidth(chart), plot * 0.45));
    const logarithmic = chart === "error" || (chart === "latency" && log.checked);
    if (!logarithmic) return [0, most * room];
    const low = chart === "error" ? least / 3 : least * 0.85;
    const high = Math.max(most, low * (chart === "error" ? 100 : 2));
    return [low, low * (high / low) ** room];
  };

  const formatTooltip = (value, sanitize) => {
    const rows = Object.entries(value).map(([name, text]) => {
      const known = text === null || text === "null" || text === "" ? "n/a" : text;
      return `<tr><td class="key">${sanitize(name)}</td><td class="value">${sanitize(known)}</td></tr>`;
    });
    return `<table><tbody>${rows.join("")}</tbody></table>`;
  };

  const setParameters = (spec, chart, extent, width) => {
    const [low, high] = axisRange(chart, extent, width);
    const values = { x_min: low, x_max: high, label_width: labelWidth };
    spec.params = Object.entries(values).map(([name, value]) => ({ name, value }));
    return spec;
  };

  const specification = (element, { chart, panel, number }) => {
    const spec = structuredClone(report.specs[chart]);
    if (chart === "latency" && log.checked) onLogAxis(spec);
    setParameters(spec, chart, panel.extents[chart], element.clientWidth);
    spec.data = { values: byPlace.get(JSON.stringify([panel.setting, panel.model, number])) ?? [] };
    // A number: with a step, Vega-Lite warns of every plot that its height does not fit.
    if (spec.height.step) spec.height = spec.height.step * new Set(spec.data.values.map((cell) => cell.label)).size;
    const heading = document.getElementById(`${chart}-h`).textContent;
    spec.description = `${heading} of ${panel.model} by library, ${number} threads`;
    return spec;
  };

  const draw = async (element) => {
    const plot = plots.get(element);
    if (!plot) return;
    const turn = (plot.turn = (plot.turn ?? 0) + 1);
    plot.wanted = true;
    const result = await window.vegaEmbed(element, plot.specification(element, plot), {
      renderer: "svg",
      actions: false,
      config: report.configs[theme()],
      tooltip: { theme: theme(), formatTooltip },
    });
    // A later drawing of the same plot, or another page of plots, has overtaken this one.
    if (plot.turn !== turn || !plots.has(element)) return result.finalize();
    plot.result?.finalize();
    plot.result = result;
    element.dataset.drawn = theme();
    return undefined;
  };

  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        draw(target);
      }
    },
    { rootMargin: "600px" },
  );

  const build = () => {
    near.disconnect();
    for (const plot of plots.values()) plot.result?.finalize();
    plots.clear();
    const chosen = Number(setting?.value ?? 0);
    const wanted = threads?.value ? Number(threads.value) : null;
    for (const section of sections) {
      const chart = section.dataset.chart;
      const cards = report.panels
        .filter((panel) => panel.setting === chosen && panel.extents[chart])
        .map((panel) => {
          const card = el("article", { class: "card" }, el("h3", {}, panel.model));
          // Operators were timed at one number of threads: the choice of another leaves them.
          const numbers = chart === "operators" ? panel.profiled_threads : panel.threads;
          for (const number of numbers) {
            if (chart !== "operators" && wanted !== null && number !== wanted) continue;
            const element = el("div", { class: "plot" });
            const text = `${number} ${number === 1 ? "thread" : "threads"}`;
            card.append(el("h4", {}, text), element);
            plots.set(element, { chart, panel, number, specification });
          }
          return card;
        });
      const missing = chart === "operators"
        ? "No operators were timed here: the protocol asks for no profile (profile.runs is 0), or the profiling launches failed; the table says why."
        : "Nothing of this was measured here.";
      const none = el("p", { class: "note" }, missing);
      section.querySelector(".cards").replaceChildren(...(cards.length ? cards : [none]));
    }
    listeners.forEach((listener) => listener(chosen, wanted));
    for (const element of plots.keys()) near.observe(element);
    for (const files of document.querySelectorAll(".files")) {
      const name = `${files.dataset.chart}${report.figure_suffixes[chosen]}`;
      files.hidden = !report.figures.includes(name);
      for (const link of files.children) link.href = `charts/${encodeURIComponent(name)}.${link.dataset.type}`;
    }
  };

  // What was drawn is drawn again; what was not yet looked at waits.
  const redraw = (which = () => true) => {
    for (const [element, plot] of plots) if (plot.wanted && which(plot)) draw(element);
  };

  setting?.addEventListener("change", build);
  threads?.addEventListener("change", build);
  log.addEventListener("change", () => redraw((plot) => plot.chart === "latency"));
  onTheme(() => redraw());
  onFlagged(() => redraw());
  // Paper cannot be scrolled: a page about to be printed draws the rest.
  // The room for the numbers depends on the width: a phone that is turned is drawn anew.
  let width = innerWidth;
  let settled;
  addEventListener("resize", () => {
    clearTimeout(settled);
    settled = setTimeout(() => {
      if (innerWidth !== width) redraw();
      width = innerWidth;
    }, 250);
  });
  addEventListener("beforeprint", () => {
    for (const [element, plot] of plots) if (!plot.wanted) draw(element);
  });
  window.cellfarm.setParameters = setParameters;
  build();
})();
