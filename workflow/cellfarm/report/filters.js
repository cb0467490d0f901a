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
  const KINDS = ["cell", "model", "device"]; // filters that the address has as a path
  const NAMES = ["cell", ...Object.keys(FIELDS), "words"];
  const values = {}; // filter -> the values that cells have
  for (const [name, field] of Object.entries(FIELDS)) values[name] = new Set(cells.map((cell) => String(cell[field])));
  const byKey = new Map(cells.map((cell) => [cell.key, cell]));

  const haystacks = new Map(cells.map((c) => [c, [c.model, c.library, c.library_version, c.variant, c.device, c.processor,
    c.protocol, c.status, c.reason, c.flags.join(" "), c.emulated ? "emulated" : "", `${c.threads} threads`].join(" ").toLowerCase()]));
  // Keys match by their beginning: one or two digits are in every key.
  const isKey = (word, key) => word.length >= 6 && key !== null && key.startsWith(word);

  let chosen = {};
  const matching = (ignored = null) => {
    const wanted = Object.entries(FIELDS).filter(([name]) => chosen[name] && name !== ignored);
    const words = (chosen.words ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    return cells.filter((cell) => wanted.every(([name, field]) => String(cell[field]) === chosen[name]) &&
      words.every((word) => haystacks.get(cell).includes(word) || isKey(word, cell.key)));
  };

  let unknownFilters = []; // filters in the address that this report does not have
  // The filters in an address; null for the address of a section.
  const read = (hash) => {
    const parts = /^#?(?:(cell|model|device)\/([^?]*))?(?:\?(.*))?$/.exec(hash);
    if (!parts) return null;
    const requested = Object.fromEntries(new URLSearchParams(parts[3] ?? ""));
    try {
      if (parts[1]) requested[parts[1]] = decodeURIComponent(parts[2]);
    } catch { /* a broken % in the address */ }
    const known = ([name, value]) => name === "words" || values[name]?.has(value) || (name === "cell" && byKey.has(value));
    unknownFilters = Object.entries(requested).filter((entry) => !known(entry)).map((entry) => entry.join(" "));
    return Object.fromEntries(Object.entries(requested).filter(known));
  };
  const address = (wanted) => {
    const kind = KINDS.find((name) => wanted[name]);
    const rest = String(new URLSearchParams(NAMES.filter((name) => wanted[name] && name !== kind).map((name) => [name, wanted[name]])));
    // Never a bare #: a browser would scroll to the top.
    return `#${kind ? `${kind}/${encodeURIComponent(wanted[kind])}` : ""}${rest || !kind ? `?${rest}` : ""}`;
  };

  // Disable the values that no cell has with the other filters.
  const updateOptions = () => {
    for (const select of selects) {
      const available = new Set(matching(select.id).map((cell) => String(cell[FIELDS[select.id]])));
      select.value = chosen[select.id] ?? "";
      for (const option of select.options) option.disabled = option.value !== "" && !available.has(option.value);
    }
    if (words.value !== (chosen.words ?? "")) words.value = chosen.words ?? "";
  };

  const listeners = [];
  const notify = () => {
    const view = { chosen, matches: matching(), cell: byKey.get(chosen.cell) ?? null };
    const [shownCount, allCount] = [view.matches.length, cells.length].map((count) => count.toLocaleString("en"));
    const missed = unknownFilters.length ? `; not in this report: ${unknownFilters.join(", ")}` : "";
    document.getElementById("shown").textContent = `${shownCount} of ${allCount} cells${missed}`;
    updateOptions();
    listeners.forEach((listener) => listener(view));
  };

  let addressTimer; // letters typed in quick succession change the address once
  const change = (wanted) => {
    [chosen, unknownFilters] = [wanted, []];
    notify();
    clearTimeout(addressTimer);
    addressTimer = setTimeout(() => { if (address(chosen) !== (location.hash || "#?")) location.replace(address(chosen)); }, 250);
  };
  const followAddress = () => {
    const before = unknownFilters.join();
    const requested = read(location.hash);
    if (requested === null || (address(requested) === address(chosen) && unknownFilters.join() === before)) return;
    clearTimeout(addressTimer);
    chosen = requested;
    notify();
  };
  addEventListener("hashchange", followAddress);

  for (const select of selects) {
    const number = (value) => (select.id === "threads" ? Number(value) : value);
    const sorted = [...values[select.id]].sort((a, b) => (number(a) > number(b) ? 1 : -1));
    select.append(...sorted.map((value) => el("option", { value }, select.id === "threads" ? `${value} thread${value === "1" ? "" : "s"}` : value)));
    select.addEventListener("change", () => change({ ...chosen, [select.id]: select.value }));
  }
  words.addEventListener("input", () => change({ ...chosen, words: words.value }));
  document.getElementById("clear").addEventListener("click", () => change({}));

  // A link that narrows keeps the other filters; a link to a section closes the cell.
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
    if (cell) { chosen = rest; notify(); location.replace(address(rest)); }
    target.scrollIntoView();
    target.setAttribute("tabindex", "-1");
    target.focus({ preventScroll: true });
  });

  bar.hidden = false;
  Object.assign(shared, {
    matching, address,
    chosen: () => chosen,
    // A link that adds filters.
    narrowing: (wanted, ...children) =>
      el("a", { href: address(wanted), "data-narrow": String(new URLSearchParams(wanted)) }, ...children),
    open: (cell) => { location.hash = address({ ...chosen, cell: cell.key }); },
    // Called at once and at every change: {chosen, matches: the cells that match, cell: the open cell or null}.
    onView: (listener) => { listeners.push(listener); listener({ chosen, matches: matching(), cell: byKey.get(chosen.cell) ?? null }); },
  });
  chosen = read(location.hash) ?? {};
  notify();
});
