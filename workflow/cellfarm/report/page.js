// The page's shared state: the cells, the theme, and how numbers read.
(() => {
  "use strict";
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const report = read("report-data");
  const rows = (columns, names = Object.keys(columns)) =>
    columns[names[0]].map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
  const cells = rows(report.columns);

  const UNKNOWN = "n/a";
  const significant = (value, digits = 3) => {
    if (value === null || value === undefined) return UNKNOWN;
    if (Math.abs(value) >= 10 ** (digits - 1)) return Math.round(value).toLocaleString("en");
    return value === 0 ? "0" : Number(value).toPrecision(digits).replace(/e-(\d+)$/, "e-$1");
  };

  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

  // A page opened from a file may have no storage: then the choice lasts as long as the page.
  const stored = {
    get: () => { try { return localStorage.getItem("cellfarm-theme"); } catch { return null; } },
    set: (v) => { try { localStorage.setItem("cellfarm-theme", v); } catch { /* not kept */ } },
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const listeners = [];
  const announce = () => listeners.forEach((listener) => listener(theme()));
  const known = stored.get();
  if (known === "light" || known === "dark") root.dataset.theme = known;
  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    stored.set(root.dataset.theme);
    announce();
  });
  system.addEventListener("change", () => { if (!root.dataset.theme) announce(); });

  // With the switch on, flagged cells are drawn and listed as those that rank.
  for (const cell of cells) Object.assign(cell, { ranks_unasked: cell.ranks, winner_unasked: cell.winner });
  const flagged = document.getElementById("flagged");
  const onFlagged = [];
  const applyFlagged = () => {
    for (const cell of cells) {
      cell.ranks = flagged.checked ? cell.ranks_flagged : cell.ranks_unasked;
      cell.winner = flagged.checked ? cell.winner_flagged : cell.winner_unasked;
    }
    onFlagged.forEach((listener) => listener());
  };
  flagged?.addEventListener("change", applyFlagged);
  if (flagged?.checked) applyFlagged(); // a reloaded page keeps its boxes

  window.cellfarm = {
    onFlagged: (listener) => onFlagged.push(listener),
    report, cells, rows, samples: read("samples-data"), el, significant, UNKNOWN, theme,
    onTheme: (listener) => listeners.push(listener),
    libraryClass: (label) => `lib-${report.labels.indexOf(label)}`,
  };
})();
