// What the page shows: the filters, the cell that is open, and their place in the address.
//   #?library=ncnn&variant=int8    #model/resnet50?device=pi    #device/pi    #cell/<key>
window.cellfarm.then((shared) => {
  "use strict";
  const { cells, el } = shared;
  const bar = document.getElementById("filters");
  if (!bar) return;
  const words = document.getElementById("filter");
  const selects = [...bar.querySelectorAll("select")];
  const FIELDS = Object.fromEntries(selects.map(({ id }) => [id, id === "library" ? "label" : id]));
  const KINDS = ["cell", "model", "device"]; // what may stand in the address by itself
  const NAMES = ["cell", ...Object.keys(FIELDS), "words"];
  const values = {}; // filter -> the values that cells have
  for (const [name, field] of Object.entries(FIELDS)) values[name] = new Set(cells.map((cell) => String(cell[field])));
  const byKey = new Map(cells.map((cell) => [cell.key, cell]));

  const haystacks = new Map(cells.map((c) => [c, [c.model, c.library, c.library_version, c.variant, c.device, c.processor,
    c.protocol, c.status, c.reason, c.flags.join(" "), c.emulated ? "emulated" : "", `${c.threads} threads`].join(" ").toLowerCase()]));
  // A digit or two of a key is in every row: only the beginning of one is meant.
  const isKey = (word, key) => word.length >= 6 && key !== null && key.startsWith(word);

  let chosen = {};
  const matching = (but = null) => {
    const wanted = Object.entries(FIELDS).filter(([name]) => chosen[name] && name !== but);
    const words = (chosen.words ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    return cells.filter((cell) => wanted.every(([name, field]) => String(cell[field]) === chosen[name]) &&
      words.every((word) => haystacks.get(cell).includes(word) || isKey(word, cell.key)));
  };

  let strange = []; // what the address asks for and this report does not have
  // An address without a filter is one of a section: null.
  const read = (hash) => {
    const parts = /^#?(?:(cell|model|device)\/([^?]*))?(?:\?(.*))?$/.exec(hash);
    if (!parts) return null;
    const asked = Object.fromEntries(new URLSearchParams(parts[3] ?? ""));
    try {
      if (parts[1]) asked[parts[1]] = decodeURIComponent(parts[2]);
    } catch { /* a broken % in the address */ }
    const known = ([name, value]) => name === "words" || values[name]?.has(value) || (name === "cell" && byKey.has(value));
    strange = Object.entries(asked).filter((entry) => !known(entry)).map((entry) => entry.join(" "));
    return Object.fromEntries(Object.entries(asked).filter(known));
  };
  const address = (wanted) => {
    const kind = KINDS.find((name) => wanted[name]);
    const rest = String(new URLSearchParams(NAMES.filter((name) => wanted[name] && name !== kind).map((name) => [name, wanted[name]])));
    // Never a bare #: to that a browser scrolls up.
    return `#${kind ? `${kind}/${encodeURIComponent(wanted[kind])}` : ""}${rest || !kind ? `?${rest}` : ""}`;
  };

  // A value that no cell has beside the other filters cannot be chosen.
  const offer = () => {
    for (const select of selects) {
      const there = new Set(matching(select.id).map((cell) => String(cell[FIELDS[select.id]])));
      select.value = chosen[select.id] ?? "";
      for (const option of select.options) option.disabled = option.value !== "" && !there.has(option.value);
    }
    if (words.value !== (chosen.words ?? "")) words.value = chosen.words ?? "";
  };

  const listeners = [];
  const tell = () => {
    const view = { chosen, matches: matching(), cell: byKey.get(chosen.cell) ?? null };
    const [some, all] = [view.matches.length, cells.length].map((count) => count.toLocaleString("en"));
    const missed = strange.length ? `; not in this report: ${strange.join(", ")}` : "";
    document.getElementById("shown").textContent = `${some} of ${all} cells${missed}`;
    offer();
    listeners.forEach((listener) => listener(view));
  };

  let written; // a page of many letters typed writes one address
  const change = (wanted) => {
    [chosen, strange] = [wanted, []];
    tell();
    clearTimeout(written);
    written = setTimeout(() => { if (address(chosen) !== (location.hash || "#?")) location.replace(address(chosen)); }, 250);
  };
  const follow = () => {
    const before = strange.join();
    const asked = read(location.hash);
    if (asked === null || (address(asked) === address(chosen) && strange.join() === before)) return;
    clearTimeout(written);
    chosen = asked;
    tell();
  };
  addEventListener("hashchange", follow);

  for (const select of selects) {
    const number = (value) => (select.id === "threads" ? Number(value) : value);
    const sorted = [...values[select.id]].sort((a, b) => (number(a) > number(b) ? 1 : -1));
    select.append(...sorted.map((value) => el("option", { value }, select.id === "threads" ? `${value} thread${value === "1" ? "" : "s"}` : value)));
    select.addEventListener("change", () => change({ ...chosen, [select.id]: select.value }));
  }
  words.addEventListener("input", () => change({ ...chosen, words: words.value }));
  document.getElementById("clear").addEventListener("click", () => change({}));

  // A link that narrows keeps what else is chosen; one of a section leaves the open cell.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const { narrow } = link.dataset;
    const target = document.getElementById(link.hash.slice(1));
    if (narrow === undefined && !target) return;
    event.preventDefault();
    const { cell, ...rest } = chosen;
    if (narrow !== undefined) {
      location.hash = address({ ...rest, ...Object.fromEntries(new URLSearchParams(narrow)) });
      return;
    }
    if (cell) { chosen = rest; tell(); location.replace(address(rest)); }
    target.scrollIntoView();
    target.setAttribute("tabindex", "-1");
    target.focus({ preventScroll: true });
  });

  bar.hidden = false;
  Object.assign(shared, {
    matching, address,
    chosen: () => chosen,
    // A link that chooses more than is chosen.
    narrowing: (wanted, ...children) =>
      el("a", { href: address(wanted), "data-narrow": String(new URLSearchParams(wanted)) }, ...children),
    open: (cell) => { location.hash = address({ ...chosen, cell: cell.key }); },
    // At once and at every change: {chosen, matches: the cells that match, cell: the open one or null}.
    onView: (listener) => { listeners.push(listener); listener({ chosen, matches: matching(), cell: byKey.get(chosen.cell) ?? null }); },
  });
  chosen = read(location.hash) ?? {};
  tell();
});
