// Tables of facts: a click on a heading sorts them, a button saves them as CSV.
window.cellfarm.then((shared) => {
  "use strict";
  const { el } = shared;

  // "1,240 ms" and "−3.4 %" are sorted by their numbers; unknown values come last in either direction.
  const key = (text) => {
    const number = /^[\s+≤◆]*([-−]?[\d,]*\.?\d+(?:e-?\d+)?)/.exec(text);
    return number ? Number(number[1].replace("−", "-").replaceAll(",", "")) : text.trim();
  };
  const unknown = (text) => ["", "n/a", "not available"].includes(text.trim());
  const order = (a, b, direction) => {
    if (unknown(a) || unknown(b)) return unknown(a) - unknown(b);
    const [left, right] = [key(a), key(b)];
    if (typeof left === "number" && typeof right === "number") return direction * (left - right);
    return direction * String(a).localeCompare(String(b));
  };

  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const download = (name, lines) => {
    const text = lines.map((line) => line.map(cell).join(",")).join("\n");
    const link = el("a", { href: URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" })), download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };

  const button = (name, lines) => {
    const element = el("button", { type: "button", class: "csv" }, "CSV");
    element.addEventListener("click", () => download(name, lines()));
    return element;
  };

  // Headings become buttons; `sorted` is called with a column's number and a direction.
  const sortable = (table, sorted, state = {}) => {
    [...table.tHead.rows].at(-1).querySelectorAll("th").forEach((th, i) => {
      const heading = el("button", { type: "button" }, th.textContent);
      const direction = state.column === i ? state.direction : 0;
      th.setAttribute("aria-sort", direction > 0 ? "ascending" : direction < 0 ? "descending" : "none");
      heading.addEventListener("click", () => sorted(i, state.column === i ? -state.direction : 1));
      th.replaceChildren(heading);
    });
  };

  // Make a complete table sortable, and add its CSV button.
  const enhance = (table) => {
    const texts = (row) => [...row.cells].map((cell) => cell.textContent.trim());
    const state = {};
    const sort = (column, direction) => {
      Object.assign(state, { column, direction });
      const rows = [...table.tBodies[0].rows].sort((a, b) => order(texts(a)[column], texts(b)[column], direction));
      table.tBodies[0].append(...rows);
      sortable(table, sort, state);
      table.tHead.querySelectorAll("th button")[column].focus();
    };
    sortable(table, sort, state);
    table.parentElement.after(button(table.dataset.name, () => [...table.rows].map(texts)));
  };

  Object.assign(shared, { order, download, sortable, csvButton: button, enhance });
  document.querySelectorAll("#answers .facts-table").forEach(enhance);
});
