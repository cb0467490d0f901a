// The table of cells: sorted, filtered, and a page at a time, for 10,000 rows are too many to draw.
(() => {
  "use strict";
  const { cells, samples, el, significant, libraryClass, onFlagged, UNKNOWN } = window.cellfarm;
  const table = document.getElementById("cell-table");
  if (!table) return;
  const PAGE = 150;
  const varying = table.dataset.varying.split(" ").filter(Boolean);
  const text = (value) => (value === null || value === undefined || value === "" ? UNKNOWN : String(value));
  const unit = (value, name) => (value === null ? UNKNOWN : `${significant(value)} ${name}`);

  const latency = (cell) => {
    const known = cell.latency_ci_low_ms !== null && cell.latency_ci_high_ms !== null;
    if (cell.latency_ms === null) return [UNKNOWN];
    const range = known ? `[${significant(cell.latency_ci_low_ms)}, ${significant(cell.latency_ci_high_ms)}]` : `[${UNKNOWN}]`;
    return [significant(cell.latency_ms), " ", el("span", { class: "ci" }, range)];
  };
  const status = (cell) => [
    el("span", { class: "pill" }, el("i", { class: `dot st-${cell.status}`, "aria-hidden": "true" }), text(cell.status)),
  ];
  const library = (cell) => [
    el("span", { class: "lib-name" },
      el("i", { class: `swatch ${libraryClass(cell.label)}`, "aria-hidden": "true" }), cell.library,
      el("span", { class: "ci" }, text(cell.library_version))),
  ];
  // name, value to sort by, what the cell shows, whether it is a number
  const columns = [
    ["Model", "model", (c) => [c.model]],
    ["Library", "library", library],
    ...varying.map((name) => [name[0].toUpperCase() + name.slice(1), name, (c) => [text(c[name])]]),
    ["Threads", "threads", (c) => [text(c.threads)], true],
    ["Status", "status", status],
    ["Latency, ms", "latency_ms", latency, true],
    ["p90, ms", "latency_p90_ms", (c) => [significant(c.latency_p90_ms)], true],
    ["Launches/samples", "samples", (c) => [`${text(c.launches)} / ${text(c.samples)}`], true],
    ["Cold start, ms", "cold_total_ms", (c) => [significant(c.cold_total_ms)], true],
    ["Memory, MB", "peak_rss_mb", (c) => [significant(c.peak_rss_mb)], true],
    ["Cosine", "cosine", (c) => [c.cosine === null ? UNKNOWN : c.cosine.toFixed(6)], true],
    ["Max. error", "max_abs_error", (c) => [text(c.error_text)], true],
    ["Flags", "flags_text", (c) => [[...c.flags, c.emulated ? "emulated" : ""].filter(Boolean).join(", ")]],
    ["Reason", "reason", (c) => [el("span", {}, c.reason ?? "")]],
  ];

  onFlagged(() => render());
  // Until it is sorted, the table stands as the charts do: by model, setting, threads, latency.
  cells.sort((a, b) => a.model.localeCompare(b.model) || a.setting - b.setting ||
    a.threads - b.threads || a.order_latency - b.order_latency);
  const state = { sort: null, direction: 1, limit: PAGE, words: [], chosen: {} };
  const haystacks = cells.map((c) =>
    [c.model, c.library, c.library_version, c.variant, c.device, c.processor, c.protocol, c.status,
      c.reason, c.flags.join(" "), c.emulated ? "emulated" : "", `${c.threads} threads`].join(" ").toLowerCase());

  // A digit or two of a key is in every row: only the beginning of one is meant.
  const isKey = (word, key) => word.length >= 6 && key !== null && key.startsWith(word);

  const matching = () => {
    const found = cells.map((_, i) => i).filter((i) =>
      state.words.every((word) => haystacks[i].includes(word) || isKey(word, cells[i].key)) &&
      Object.entries(state.chosen).every(([column, value]) => !value || String(cells[i][column]) === value));
    if (state.sort === null) return found;
    const [, field] = columns[state.sort];
    // What is unknown stands last in either direction.
    return found.sort((a, b) => {
      const [left, right] = [cells[a][field], cells[b][field]];
      const [none, other] = [left === null, right === null];
      if (none || other) return none - other;
      return state.direction * (typeof left === "number" ? left - right : String(left).localeCompare(right));
    });
  };

  const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  const share = (value) => (value === null ? UNKNOWN : `${significant(value * 100)} %`);
  // Only of models with labelled pictures: elsewhere there is nothing to miss.
  const accuracy = (cell) => {
    if (cell.accuracy_reason !== null) return [fact("Accuracy", cell.accuracy_reason)];
    if (cell.labelled_images === null) return [];
    const range = `${share(cell.top1_accuracy_low)} to ${share(cell.top1_accuracy_high)}`;
    return [
      fact("Labelled pictures", `${cell.labelled_images}`),
      fact("Top-1 accuracy", `${share(cell.top1_accuracy)} [${range}]`),
      fact("Top-5 accuracy", share(cell.top5_accuracy)),
      fact("Top-1 accuracy of the FP32 reference", share(cell.reference_top1_accuracy)),
    ];
  };
  const detail = (cell, width) => {
    const body = el("div", { class: "detail-body" });
    const utilisation = cell.cpu_utilisation === null ? UNKNOWN : `${significant(cell.cpu_utilisation * 100)} %`;
    const size = cell.artifact_bytes === null ? UNKNOWN : `${significant(cell.artifact_bytes / 1e6)} MB`;
    const payload = cell.payload_bytes === null ? UNKNOWN : `${significant(cell.payload_bytes / 1e6)} MB`;
    const match = cell.top1_match === null ? UNKNOWN : cell.top1_match ? "yes" : "no";
    body.append(el("dl", {},
      fact("Setting", [cell.device, cell.processor, cell.variant, cell.protocol].map(text).join(" · ")),
      fact("Steady state", text(cell.steady_state)),
      fact("Process start, import", `${unit(cell.cold_start_ms, "ms")}, ${unit(cell.cold_import_ms, "ms")}`),
      fact("Read, load", `${unit(cell.cold_read_ms, "ms")}, ${unit(cell.cold_load_ms, "ms")}`),
      fact("First inference", unit(cell.cold_first_ms, "ms")),
      fact("Steady after", unit(cell.steady_after_ms, "ms")),
      fact("Outliers, kept", cell.outliers === null ? UNKNOWN : `${cell.outliers} of ${text(cell.samples)} samples`),
      fact("Stopped because", text(cell.stopped_because)),
      fact("CPU utilisation", utilisation), fact("Energy", unit(cell.energy_mj, "mJ")),
      fact("Artifact, payload", `${size}, ${payload}`), fact("Top-1 agrees", match),
      fact("Held-out inputs", cell.heldout_samples === null ? UNKNOWN : `${cell.heldout_samples}`),
      fact("SQNR", unit(cell.sqnr_db, "dB")),
      fact("Top-1 agreement, held-out", cell.top1_agreement === null ? UNKNOWN : `${significant(cell.top1_agreement * 100)} %`),
      ...accuracy(cell),
      fact("Measured", cell.measured_at === null ? UNKNOWN : `${cell.measured_at} UTC`),
      fact("Experiment", text(cell.experiment)), el("div", { class: "wide" }, el("dt", {}, "Key"), el("dd", {}, text(cell.key)))));
    if (cell.reason) body.append(el("h3", {}, "Reason"), el("pre", {}, cell.reason));
    if (cell.log) {
      const open = el("details", { open: cell.status !== "ok" }, el("summary", {}, "Log"), el("pre", {}, cell.log));
      body.append(open);
    }
    const raw = samples.by_key[cell.key];
    body.append(el("h3", {}, "Raw samples"));
    if (raw && raw.launches.length) {
      const [picture, caption] = window.cellfarm.drawSamples(cell, raw, Math.max(240, width - 36));
      body.append(picture, el("p", { class: "muted" }, caption));
    } else {
      body.append(el("p", { class: "muted" }, samples.left_out ?? "None were recorded for this cell."));
    }
    return body;
  };

  const box = table.closest(".table-box");
  const toggle = (row, button, cell) => {
    const opened = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!opened));
    if (opened) return row.nextElementSibling.remove();
    const content = el("td", { colspan: columns.length + 1 }, detail(cell, box.clientWidth));
    return row.after(el("tr", { class: "detail" }, content));
  };

  const row = (cell) => {
    const what = `${cell.model}, ${cell.label}, ${cell.threads} threads`;
    const button = el("button", { class: "open", type: "button", "aria-expanded": "false", "aria-label": `Details of ${what}` });
    const line = el("tr", { class: cell.ranks ? "row" : "row unranked" }, el("td", {}, button));
    for (const [name, , show, number] of columns) {
      line.append(el("td", { class: number ? "num" : name === "Reason" ? "reason" : null }, ...show(cell)));
    }
    line.addEventListener("click", (event) => {
      // Selecting text in a row is not a wish to open it.
      if (event.target !== button && String(getSelection())) return;
      toggle(line, button, cell);
    });
    return line;
  };

  const more = document.getElementById("more");
  const render = () => {
    const found = matching();
    table.tBodies[0].replaceChildren(...found.slice(0, state.limit).map((i) => row(cells[i])));
    const drawn = Math.min(state.limit, found.length);
    const rest = drawn < found.length ? `, ${drawn.toLocaleString("en")} drawn` : "";
    document.getElementById("shown").textContent = `${found.length.toLocaleString("en")} of ${cells.length.toLocaleString("en")} cells${rest}`;
    more.hidden = drawn === found.length;
    table.tHead.querySelectorAll("th[data-column]").forEach((th, i) => {
      const order = state.direction > 0 ? "ascending" : "descending";
      th.setAttribute("aria-sort", state.sort === i ? order : "none");
    });
  };

  const head = el("tr", {}, el("th", { scope: "col" }, el("span", { class: "sr" }, "Details")));
  columns.forEach(([name, field, , number], i) => {
    const button = el("button", { type: "button" }, name);
    button.addEventListener("click", () => {
      state.direction = state.sort === i ? -state.direction : 1;
      state.sort = i;
      render();
    });
    head.append(el("th", { scope: "col", class: number ? "num" : null, "data-column": field }, button));
  });
  table.tHead.append(head);

  document.getElementById("filters").hidden = false;
  const filter = document.getElementById("filter");
  const selects = [...document.querySelectorAll("#filters select")];
  const changed = () => {
    state.words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    state.chosen = Object.fromEntries(selects.map((select) => [select.dataset.column, select.value]));
    state.limit = PAGE;
    render();
  };
  for (const select of selects) {
    const values = [...new Set(cells.map((cell) => String(cell[select.dataset.column])))].sort();
    select.append(...values.map((value) => el("option", { value }, value)));
    select.addEventListener("change", changed);
  }
  filter.addEventListener("input", changed);
  document.getElementById("clear").addEventListener("click", () => {
    filter.value = "";
    for (const select of selects) select.value = "";
    changed();
  });
  more.addEventListener("click", () => { state.limit += PAGE; render(); });
  // An opened row is as wide as the box, not as the table: it is read without scrolling sideways.
  new ResizeObserver(() => box.style.setProperty("--box-width", `${box.clientWidth}px`)).observe(box);
  render();
})();
