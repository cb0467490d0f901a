// The page's shared state: the cells, the theme, and how numbers are written. `window.cellfarm` is a
// promise of it: the data are unpacked first, then the other scripts run in their order.
window.cellfarm = (() => {
  "use strict";
  const UNKNOWN = "n/a";
  const significant = (value, digits = 3) => {
    if (value === null || value === undefined) return UNKNOWN;
    if (Math.abs(value) >= 10 ** (digits - 1)) return Math.round(value).toLocaleString("en");
    return value === 0 ? "0" : Number(value).toPrecision(digits).replace(/e-(\d+)$/, "e-$1");
  };

  const el = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

  // A page opened from a file may have no storage: then the choice is lost with the page.
  const stored = {
    get: () => { try { return localStorage.getItem("cellfarm-theme"); } catch { return null; } },
    set: (v) => { try { localStorage.setItem("cellfarm-theme", v); } catch { /* not kept */ } },
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const theme = () => root.dataset.theme || (system.matches ? "dark" : "light");
  const onTheme = [];
  const announce = () => onTheme.forEach((listener) => listener(theme()));
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

  const unpack = (name) => {
    const text = atob(document.getElementById(`${name}-data`).textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
  };
  const rows = (columns, names = Object.keys(columns)) =>
    columns[names[0]].map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));

  // The details of cells are unpacked when the first cell is opened.
  let details;
  const readDetails = () => {
    details ??= Promise.all([unpack("details").json(), unpack("samples").arrayBuffer()])
      .then(([details, buffer]) => {
        let offset = 0; // of a cell's first sample, in the samples of all cells
        const starts = details.series.map((series) => {
          const start = offset;
          for (const [, ...counts] of series) offset += counts.reduce((a, b) => a + b, 0);
          return start;
        });
        return { ...details, starts, ms: new Float32Array(buffer) };
      });
    return details;
  };

  // With the switch on, flagged cells are drawn and listed like cells that rank.
  const followSwitch = (cells, listeners) => {
    for (const cell of cells) Object.assign(cell, { ranks_without_flagged: cell.ranks, winner_without_flagged: cell.winner });
    const flagged = document.getElementById("flagged");
    const apply = () => {
      for (const cell of cells) {
        cell.ranks = flagged.checked ? cell.ranks_flagged : cell.ranks_without_flagged;
        cell.winner = flagged.checked ? cell.winner_flagged : cell.winner_without_flagged;
      }
      listeners.forEach((listener) => listener());
    };
    flagged?.addEventListener("change", apply);
    if (flagged?.checked) apply(); // a reloaded page keeps its boxes
  };

  const start = async () => {
    const report = await unpack("report").json();
    const cells = rows(report.columns);
    cells.forEach((cell, i) => { cell.index = i; }); // the place of its details
    // Tables begin in the order of the charts: by model, setting, threads, latency.
    cells.sort((a, b) => a.model.localeCompare(b.model) || a.setting - b.setting ||
      a.threads - b.threads || a.order_latency - b.order_latency);
    const onFlagged = [];
    followSwitch(cells, onFlagged);
    return {
      report, cells, rows, readDetails, el, significant, UNKNOWN, theme,
      onTheme: (listener) => onTheme.push(listener),
      onFlagged: (listener) => onFlagged.push(listener),
      libraryClass: (label) => `lib-${report.labels.indexOf(label)}`,
    };
  };
  return start().catch((error) => {
    document.getElementById("unreadable").hidden = false;
    throw error;
  });
})();
