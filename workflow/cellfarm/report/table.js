// The table of cells: sorted, and a page at a time, as 10,000 rows are too many to draw.
window.cellfarm.then((shared) => {
  "use strict";
  const { report, cells, el, metrics, libraryClass, narrowing, onFlagged, onView, download, sortable, UNKNOWN } = shared;
  const table = document.getElementById("cell-table");
  if (!table || !onView) return;
  const PAGE = 150;
  const text = (value) => (value === null || value === undefined || value === "" ? UNKNOWN : String(value));
  const varying = ["device", "processor", "variant", "protocol"].filter((name) => new Set(cells.map((c) => c[name])).size > 1);

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
    ["Model", "model", (c) => [narrowing({ cell: c.key }, c.model)]],
    ["Library", "library", library],
    ...varying.map((name) => [name[0].toUpperCase() + name.slice(1), name, (c) => [text(c[name])]]),
    ["Threads", "threads", (c) => [text(c.threads)], true],
    ["Status", "status", status],
    ...metrics.inTable.map((name) => [metrics.heading(name), name, (c) => [metrics.written(name, c) ?? UNKNOWN], metrics.isNumber(name)]),
    ["Flags", "flags_text", (c) => [[...c.flags, c.emulated ? "emulated" : ""].filter(Boolean).join(", ")]],
    ["Reason", "reason", (c) => [el("span", {}, c.reason ?? "")]],
  ];

  const state = { limit: PAGE };
  let matches = [];
  const sorted = () => {
    if (state.column === undefined) return matches;
    const [, field] = columns[state.column];
    // Unknown values come last in either direction.
    return [...matches].sort((a, b) => {
      const [left, right] = [a[field], b[field]];
      const [leftUnknown, rightUnknown] = [left === null, right === null];
      if (leftUnknown || rightUnknown) return leftUnknown - rightUnknown;
      return state.direction * (typeof left === "number" ? left - right : String(left).localeCompare(right));
    });
  };

  const row = (cell) => {
    const line = el("tr", { class: cell.ranks ? "row" : "row unranked" });
    for (const [name, , show, number] of columns) {
      line.append(el("td", { class: number ? "num" : name === "Reason" ? "reason" : null }, ...show(cell)));
    }
    line.addEventListener("click", (event) => {
      // Selecting text in a row does not open its cell.
      if (!event.target.closest("a") && !String(getSelection())) shared.open(cell);
    });
    return line;
  };

  const more = document.getElementById("more");
  const render = () => {
    table.tBodies[0].replaceChildren(...sorted().slice(0, state.limit).map(row));
    const remaining = Math.max(0, matches.length - state.limit);
    more.hidden = remaining === 0;
    more.textContent = `Show more (${remaining.toLocaleString("en")} left)`;
  };
  const head = el("tr", {}, ...columns.map(([name, field, , number]) =>
    el("th", { scope: "col", class: number ? "num" : null, "data-column": field }, name)));
  table.tHead.append(head);
  const sort = (column, direction) => {
    Object.assign(state, { column, direction });
    sortable(table, sort, state);
    head.querySelectorAll("button")[column].focus();
    render();
  };
  sortable(table, sort, state);
  more.addEventListener("click", () => { state.limit += PAGE; render(); });

  // All columns of the cells, with their names in the warehouse.
  document.getElementById("csv").addEventListener("click", () => download("cells", [report.cell_columns,
    ...sorted().map((cell) => report.cell_columns.map((name) => (Array.isArray(cell[name]) ? cell[name].join(" ") : cell[name])))]));

  onFlagged(render);
  onView((view) => {
    if (view.cell) return;
    [matches, state.limit] = [view.matches, PAGE];
    render();
  });
});
