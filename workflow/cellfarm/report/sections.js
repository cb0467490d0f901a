// The tables beside the charts, and the calibration load of a device over time.
window.cellfarm.then((shared) => {
  "use strict";
  const { report, rows, el, metrics, significant, libraryClass, onFlagged, onView, matching, narrowing, order, sortable, csvButton } = shared;
  if (!shared.addPlot) return;
  const PAGE = 100;
  const NONE = () => el("span", { class: "muted" }, "not available");
  const known = (value) => value !== null && value !== undefined;
  const unit = (value, name) => (known(value) ? `${significant(value)}${name && ` ${name}`}` : NONE());
  const metric = (name, title) => [title ?? metrics.heading(name), (c) => metrics.written(name, c, " to ") ?? NONE(), metrics.isNumber(name)];
  const library = (cell) => el("span", { class: "lib-name" },
    el("i", { class: `swatch ${libraryClass(cell.label)}`, "aria-hidden": "true" }), cell.label);
  const firstColumns = [
    ["Model", (c) => narrowing({ cell: c.key }, c.model)],
    ["Library", library],
    ["Threads", (c) => String(c.threads), true],
  ];

  const largest = (cell) => {
    if (!cell.op_ms) return cell.status === "ok" ? cell.operators_reason ?? "not profiled" : cell.status;
    return cell.op_ms.map((ms, i) => [ms, report.operator_types[i]]).filter(([ms]) => ms > 0)
      .sort((a, b) => b[0] - a[0]).slice(0, 3)
      .map(([ms, name]) => `${name} ${significant((ms / cell.operators_sum_ms) * 100, 2)} %`).join(", ");
  };
  const gapRemark = (cell) => {
    if (!known(cell.operators_gap)) return "";
    return Math.abs(cell.operators_gap) > report.operators_gap
      ? el("b", {}, `no: more than ${report.operators_gap * 100} % off`) : "yes";
  };
  const temperature = (cell) => {
    if (!known(cell.temperature_high_c)) return NONE();
    return `${cell.temperature_low_c.toFixed(1)} to ${cell.temperature_high_c.toFixed(1)} (${cell.temperature_zone})`;
  };
  const flags = (cell) => [...cell.flags, cell.emulated ? "emulated" : ""].filter(Boolean).join(", ") || "none";
  const memory = (cell) => {
    const [load, inference] = [cell.peak_load_rss_mb, cell.peak_inference_rss_mb];
    if (!known(load) && !known(inference)) return NONE();
    return el("span", {}, unit(load, ""), " / ", unit(inference, ""));
  };

  // table -> [which cells, columns: heading, content, whether it is a number]
  const tables = {
    "cold-start": [(c) => known(c.cold_total_ms), [
      ...firstColumns,
      metric("cold_total_ms", "Total, warm page cache, ms"),
      metric("cold_cache_total_ms", "Total, cold page cache, ms"),
      metric("page_cache_share"),
      metric("steady_after_ms"),
    ]],
    operators: [(c, place) => c.threads === place.profiled, [
      ...firstColumns,
      metric("operators_sum_ms"),
      metric("latency_ms"),
      metric("operators_gap"),
      ["Adds up", gapRemark],
      ["Most time in", largest],
    ]],
    sustained: [(c) => known(c.throughput_burst_per_s), [
      ...firstColumns,
      metric("throughput_burst_per_s"),
      metric("throughput_settled_per_s"),
      metric("throughput_ratio"),
      metric("settled_after_s"),
    ]],
    conditions: [(c) => known(c.latency_ms), [
      ...firstColumns,
      metric("launches"),
      metric("steady_state"),
      metric("cpu_utilisation"),
      metric("other_cpu_utilisation"),
      ["Peak memory, load / inference, MB", memory, true],
      metric("sampler_cpu_share"),
      ["Temperature, °C", temperature],
      ["Calibration against baseline", (c) => (known(c.drift_ratio) ? metrics.signed(c.drift_ratio - 1) : NONE()), true],
      ["Waited, s", (c) => unit(c.waited_s, ""), true],
      ["Flags", flags],
    ]],
  };

  const states = {}; // table -> how it is sorted, and how many rows are drawn
  let view = null;
  const profiled = new Map(report.panels.map((p) => [`${p.setting} ${p.model}`, p.profiled_threads[0] ?? p.threads[0]]));
  const setting = ["Setting", (c) => report.settings[c.setting]];
  const text = (node) => (typeof node === "string" ? node : node.textContent);

  const fill = (box) => {
    const name = box.dataset.table;
    const [wanted, listed] = tables[name];
    const state = (states[name] ??= { limit: PAGE });
    const candidates = name === "operators" ? matching("threads") : view.matches;
    const matches = candidates.filter((c) => wanted(c, { profiled: profiled.get(`${c.setting} ${c.model}`) }));
    if (!matches.length) return box.replaceChildren(el("p", { class: "note" }, "Nothing of this was measured here."));
    const several = matches.some((c) => c.setting !== matches[0].setting);
    const columns = several ? [listed[0], setting, ...listed.slice(1)] : listed;
    const show = columns[state.column]?.[1];
    if (show) {
      const texts = new Map(matches.map((c) => [c, text(show(c))]));
      matches.sort((a, b) => order(texts.get(a), texts.get(b), state.direction));
    }
    const head = el("tr", {}, ...columns.map(([heading, , number]) => el("th", { scope: "col", class: number ? "num" : null }, heading)));
    const lines = matches.slice(0, state.limit).map((c) => el("tr", { class: c.ranks ? null : "unranked" },
      ...columns.map(([, content, number]) => el("td", { class: number ? "num" : null }, content(c)))));
    const label = box.closest("section").querySelector("h2").textContent;
    const table = el("table", { class: "facts-table" }, el("thead", {}, head), el("tbody", {}, ...lines));
    const scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${label} in numbers` }, table);
    sortable(table, (column, direction) => {
      Object.assign(state, { column, direction });
      fill(box);
      box.querySelectorAll("th button")[column].focus();
    }, state);
    const more = el("button", { type: "button" }, `Show more (${matches.length - state.limit} left)`);
    more.addEventListener("click", () => { state.limit += 4 * PAGE; fill(box); });
    const csv = csvButton(name, () => [columns.map(([heading]) => heading),
      ...matches.map((c) => columns.map(([, content]) => text(content(c))))]);
    return box.replaceChildren(scroll, ...(matches.length > state.limit ? [more, " "] : []), csv);
  };

  const meanings = () => {
    const occurring = new Set(view.matches.flatMap((c) => c.flags));
    const list = [...occurring].sort().map((flag) => el("div", {}, el("dt", {}, flag),
      el("dd", {}, report.flag_meanings[flag] ?? "see docs/troubleshooting.md")));
    document.getElementById("flag-meanings").replaceChildren(...list);
  };

  const drawCalibration = (device) => {
    const calibration = report.calibration[device];
    const plot = el("div", { class: "plot" });
    const box = document.getElementById("calibration");
    shared.release(box);
    if (!calibration) {
      return box.replaceChildren(el("p", { class: "muted" }, "No launch has a reading of the calibration load: not available."));
    }
    const points = rows(calibration.columns).map((point) => ({ ...point, session: null }));
    for (const [number, moment] of calibration.sessions) points.find((p) => p.number === number).session = moment;
    const caption = `${device}: ${calibration.launches.toLocaleString("en")} launches, each against the median of those with as many threads. ` +
      "An upright line begins a run of the pipeline. Above 1: the device was slower.";
    box.replaceChildren(plot, el("p", { class: "muted" }, caption));
    return shared.addPlot(plot, {
      chart: "calibration",
      name: `calibration--${device}`,
      specification: (element) => ({
        ...shared.filled(report.calibration_spec, points, { ...calibration.parameters, panel_width: element.clientWidth }),
        description: `The calibration load before each launch on ${device}`,
      }),
    });
  };

  const boxes = [...document.querySelectorAll("[data-table]")];
  onFlagged(() => { if (view) boxes.forEach(fill); });
  let drawnDevice; // the device whose calibration load is drawn
  onView((newView) => {
    if (newView.cell) return;
    view = newView;
    boxes.forEach(fill);
    meanings();
    const device = view.matches[0]?.device ?? null;
    if (device !== drawnDevice) drawCalibration(device);
    drawnDevice = device;
  });
});
