// The page of a cell: its numbers, the other libraries, its raw samples, launches and conditions.
window.cellfarm.then((shared) => {
  "use strict";
  const { report, cells, el, metrics, significant, libraryClass, narrowing, onView, readDetails, enhance, UNKNOWN } = shared;
  const page = document.getElementById("cell");
  if (!page || !onView) return;
  const known = (value) => value !== null && value !== undefined && value !== "";
  const text = (value) => (known(value) ? String(value) : UNKNOWN);
  const unit = (value, name) => (known(value) ? `${significant(value)} ${name}` : UNKNOWN);
  const megabytes = (value) => unit(known(value) ? value / 1e6 : null, "MB");
  const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

  const numbers = (cell) => [
    ...metrics.listed(cell),
    ["Outliers, kept", known(cell.outliers) ? `${cell.outliers} of ${text(cell.samples)}` : UNKNOWN],
    ["Artifact, payload", `${megabytes(cell.artifact_bytes)}, ${megabytes(cell.payload_bytes)}`],
    ["Measured", known(cell.measured_at) ? `${cell.measured_at} UTC` : UNKNOWN],
    ["Experiment", text(cell.experiment)], ["Key", text(cell.key)],
  ];

  const table = (name, columns, rows) => {
    const head = columns.map(([heading, number]) => el("th", { scope: "col", class: number ? "num" : null }, heading));
    const lines = rows.map((row) => el("tr", {}, ...row.map((value, i) =>
      el("td", { class: columns[i][1] ? "num" : null }, value instanceof Node ? value : text(value)))));
    const element = el("table", { class: "facts-table", "data-name": name }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...lines));
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, element);
  };
  const section = (heading, ...content) => el("section", {}, el("h2", {}, heading), ...content);
  const note = (words) => el("p", { class: "muted" }, words);
  const list = (pairs) => el("dl", { class: "known" }, ...pairs.map(([name, value]) => fact(name, value)));

  const rivals = (cell) => {
    const sameSetting = cells.filter((c) => c.setting === cell.setting && c.model === cell.model && c.threads === cell.threads);
    const rows = sameSetting.sort((a, b) => a.order_latency - b.order_latency).map((c) => [
      c === cell ? el("b", {}, c.label) : narrowing({ cell: c.key }, c.label), c.status,
      metrics.written("latency_ms", c) ?? UNKNOWN,
      known(c.latency_ms) && known(cell.latency_ms) ? `${(c.latency_ms / cell.latency_ms).toFixed(2)}×` : UNKNOWN,
      c.ranks ? "ranks" : "does not rank",
    ]);
    return section("The same with every library", table("rivals",
      [["Library"], ["Status"], [metrics.heading("latency_ms"), true], ["Of this one's", true], ["Remark"]], rows));
  };

  // The command that measures only this cell, if it has no result yet.
  const quoted = (word) => (/^[\w@.=\/:+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
  const command = (cell) => {
    const version = cell.library_version ? `@${cell.library_version}` : "";
    const wanted = [`models=[${cell.model}]`, `libraries=[${cell.library}${version}]`, `devices=[${cell.device}]`,
      `variants=[${cell.variant}]`, `processors=[${cell.processor}]`, `threads=[${cell.threads}]`, `protocol=${cell.protocol}`];
    // `retry` does not take results that are correct and rank.
    const retryOptions = cell.status !== "ok" ? ["--status", cell.status] : cell.flags.length && !cell.ranks_without_flagged ? ["--flagged"] : null;
    const retry = ["cellfarm", "retry", "--model", cell.model, "--library", `${cell.library}${version}`, "--device", cell.device, ...(retryOptions ?? [])];
    return section("Command", note("Measures this cell alone, where it has no result yet:"),
      el("pre", {}, ["snakemake", "--config", ...wanted].map(quoted).join(" ")),
      ...(retryOptions ? [note(`Sets aside ${retryOptions[0] === "--flagged" ? "flagged results" : "results of this status"} of this model, library and device, so that they are measured again (--configfile names the config, where it is not config/config.yaml):`),
        el("pre", {}, retry.map(quoted).join(" "))] : []));
  };

  const log = (cell) => {
    const [run, ...names] = (cell.experiment ?? "").split("/");
    const file = names.length ? `results/logs/experiments/${run}/${names.join("-")}.log` : UNKNOWN;
    return section("Log", cell.log ? el("pre", {}, cell.log) : note("A cell keeps the end of what was printed when something goes wrong: here nothing did."),
      note(`The experiment's log: ${file}`));
  };

  const time = (seconds) => (known(seconds) ? new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ") : UNKNOWN);
  const LAUNCH = [["Launch", true], ["Mode"], ["Status"], ["Started, UTC"], ["Median, ms", true], ["Warm-up", true],
    ["Outliers", true], ["Steady state"], ["Calibration, ms", true], ["Waited, s", true], ["Flags"]];
  const CONDITION = [["What"], ["Unit"], ["Least", true], ["Median", true], ["Most", true], ["Readings", true]];
  const flat = (facts, prefix = "") => Object.entries(facts ?? {}).flatMap(([name, value]) => {
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return flat(value, `${prefix}${name}.`);
    return known(value) ? [[`${prefix}${name}`.replaceAll("_", " "), Array.isArray(value) ? value.join(", ") : String(value)]] : [];
  });

  const detailSections = (cell, details) => {
    const i = cell.index;
    const series = details.series[i];
    const sections = [section("Raw samples", ...(series.length
      ? (([picture, caption]) => [picture, note(caption)])(shared.drawSamples(cell,
        { series, ms: details.ms.subarray(details.starts[i]), step: details.steps[i], count: details.counts[i] }, Math.max(240, page.clientWidth)))
      : [note("None were recorded for this cell.")]))];
    const launches = details.launches[i].map((row) => row.map((value, column) => (details.launch_columns[column] === "started_s" ? time(value) : value)));
    sections.push(section("Launches", launches.length ? table("launches", LAUNCH, launches) : note("Not available.")));
    sections.push(section("Conditions", details.conditions[i].length
      ? table("conditions", CONDITION, details.conditions[i].map((row) => row.map((value, column) => (column > 1 && column < 5 ? significant(value) : value))))
      : note("Not available: nothing was read while this cell was measured.")));
    const facts = flat(details.environments[details.environment[i]]);
    const causes = Object.entries(details.causes).map(([name, digests]) => [name, text(digests[i])]);
    sections.push(section("Environment", note("The device as it was then."), facts.length ? list(facts) : note("Not available."),
      note("Digests of what the result depends on: two cells with the same digest had the same."), list(causes)));
    return sections;
  };

  const show = async (cell) => {
    const place = [...["device", "processor", "variant", "protocol"].map((name) => text(cell[name])), `${cell.threads} thread${cell.threads === 1 ? "" : "s"}`];
    const heading = el("h1", { tabindex: "-1" }, cell.model, " · ", el("span", { class: "lib-name" },
      el("i", { class: `swatch ${libraryClass(cell.label)}`, "aria-hidden": "true" }), cell.library, " ", el("small", {}, text(cell.library_version))));
    const flags = [...cell.flags, cell.emulated ? "emulated" : ""].filter(Boolean);
    page.replaceChildren(
      el("p", { class: "crumb" }, narrowing({ cell: "" }, "← All cells"), " › ", narrowing({ cell: "", model: cell.model }, cell.model), " › ",
        narrowing({ cell: "", device: cell.device }, cell.device)),
      heading, el("p", { class: "muted" }, place.join(" · ")),
      el("p", { class: "pill" }, el("i", { class: `dot st-${cell.status}`, "aria-hidden": "true" }), `${cell.status}${cell.ranks ? ", ranks" : ", does not rank"}`),
      ...(cell.reason ? [el("pre", { class: "reason" }, cell.reason)] : []),
      ...(flags.length ? [el("dl", { class: "flags" }, ...flags.map((flag) => fact(flag, report.flag_meanings[flag] ?? "a device that is simulated: no latency")))] : []),
      section("Numbers", list(numbers(cell))), rivals(cell), command(cell), log(cell));
    scrollTo(0, 0);
    heading.focus({ preventScroll: true });
    const details = await readDetails();
    if (shared.chosen().cell !== cell.key) return;
    page.querySelector("section").after(...detailSections(cell, details));
    page.querySelectorAll(".facts-table").forEach(enhance);
    page.dataset.shown = cell.key;
  };

  let open = null;
  onView(({ cell }) => {
    page.hidden = cell === null;
    if (cell && cell !== open) show(cell);
    if (!cell) page.replaceChildren();
    open = cell;
  });
});
