// The page's shared state: the cells, the theme, and how numbers read.
(() => {
  "use strict";
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const report = read("report-data");
  const names = Object.keys(report.columns);
  const cells = report.columns.key.map((_, i) =>
    Object.fromEntries(names.map((name) => [name, report.columns[name][i]])),
  );

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

  window.cellfarm = {
    report, cells, samples: read("samples-data"), el, significant, UNKNOWN, theme,
    onTheme: (listener) => listeners.push(listener),
    libraryClass: (label) => `lib-${report.labels.indexOf(label)}`,
  };
})();
