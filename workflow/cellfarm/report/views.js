// Shows and hides parts of the page: the table of winners, and the panels of a model or a device.
window.cellfarm.then((shared) => {
  "use strict";
  const { report, cells, enhance, onView } = shared;
  if (!onView) return;
  const box = document.getElementById("subjects");
  const all = document.getElementById("all");

  const narrowWinners = ({ chosen, matches }) => {
    // A filter by library keeps the winners, which are decided among all libraries, and marks its wins.
    const others = chosen.library || chosen.status || chosen.words;
    const kept = others ? cells.filter((c) => ["device", "model", "variant", "processor", "protocol", "threads"]
      .every((name) => !chosen[name] || String(c[name]) === chosen[name])) : matches;
    const models = new Set(kept.map((cell) => cell.model));
    const places = new Set(kept.map((cell) => `${cell.setting} ${cell.threads}`));
    for (const table of document.querySelectorAll(".matrix")) {
      const heads = [...table.tHead.querySelectorAll("th[data-place]")];
      const visible = heads.map((head) => places.has(head.dataset.place));
      heads.forEach((head, i) => { head.hidden = !visible[i]; });
      for (const group of table.tHead.querySelectorAll("th[data-setting]")) {
        const span = heads.filter((head, i) => visible[i] && head.dataset.place.split(" ")[0] === group.dataset.setting).length;
        group.hidden = span === 0;
        if (span) group.colSpan = span;
      }
      for (const row of table.tBodies[0].rows) {
        row.hidden = !models.has(row.dataset.model);
        [...row.cells].slice(1).forEach((square, i) => {
          square.hidden = !visible[i];
          const won = (square.dataset.won ?? "").split("|");
          square.classList.toggle("dim", Boolean(chosen.library) && !won.includes(chosen.library));
        });
      }
      table.style.setProperty("--columns", visible.filter(Boolean).length);
    }
  };

  let shown = null; // the subjects whose panels are shown
  const showSubjects = ({ chosen }) => {
    const names = ["model", "device"].filter((kind) => chosen[kind]).map((kind) => `${kind}/${chosen[kind]}`);
    document.body.classList.toggle("narrowed", names.length > 0);
    if (names.join("\n") === shown) return false;
    shown = names.join("\n");
    box.innerHTML = names.map((name) => report.subjects[name] ?? "").join("");
    box.querySelectorAll(".facts-table").forEach(enhance);
    return names.length > 0;
  };

  let scrollPosition = null; // of the page when a cell was opened
  const showAll = ({ cell, chosen }) => {
    if (cell && !all.hidden) scrollPosition = scrollY;
    const back = !cell && all.hidden;
    all.hidden = cell !== null;
    document.body.classList.toggle("one-cell", cell !== null);
    if (back && scrollPosition !== null) scrollTo(0, scrollPosition);
    const title = cell ? `${cell.model} ${cell.label}` : [chosen.model, chosen.device].filter(Boolean).join(" on ");
    document.title = title ? `${title} – cellfarm report` : "cellfarm report";
  };

  let first = true;
  onView((view) => {
    const changed = showSubjects(view);
    narrowWinners(view);
    showAll(view);
    // Scroll to the heading of a panel, but not when the page is loaded.
    if (changed && !view.cell && !first) {
      box.scrollIntoView();
      box.querySelector("h1").focus({ preventScroll: true });
    }
    first = false;
  });
});
