// Writes the columns of measures as measures/*/measure.yaml describes them: headings, numbers, intervals.
window.cellfarm.then((shared) => {
  "use strict";
  const { report, el, significant } = shared;
  const metrics = Object.assign({}, ...report.measures.map((measure) => measure.columns));
  const known = (value) => value !== null && value !== undefined && value !== "";
  const share = (value) => `${significant(value * 100)} %`;
  const signed = (value) => `${value < 0 ? "−" : "+"}${significant(Math.abs(value) * 100, 2)} %`;
  const error = (value) => {
    if (value === 0) return "exact";
    return value >= 0.01 && value < 10_000 ? significant(value, 2) : value.toExponential(1).replace("e+", "e");
  };
  const formats = { fixed: (value) => value.toFixed(2), exact: (value) => value.toFixed(6), error, signed };

  const text = (name, value) => {
    const { format, unit, type } = metrics[name];
    if (format) return formats[format](value);
    if (type === "BOOLEAN") return value ? "yes" : "no";
    if (type !== "DOUBLE") return String(value);
    return unit === "1" ? share(value) : significant(value);
  };
  // The unit after a number, or after a comma in a heading; a share has none.
  const unitOf = (name) => {
    const { unit } = metrics[name];
    return unit === null || unit === "1" ? "" : unit.replace(/^1\//, "per ");
  };
  const range = (name, cell) => {
    const ends = metrics[name].interval?.map((end) => cell[end]);
    return ends?.every(known) ? ends.map((end) => text(name, end)) : null;
  };

  // The number with its interval, or with "n/a" if the interval is unknown. Null for an unknown number.
  const written = (name, cell, joint = ", ") => {
    if (!known(cell[name])) return null;
    if (!metrics[name].interval) return text(name, cell[name]);
    const ends = range(name, cell)?.join(joint) ?? shared.UNKNOWN;
    return el("span", {}, text(name, cell[name]), " ", el("span", { class: "ci" }, `[${ends}]`));
  };
  const heading = (name) => [metrics[name].title, unitOf(name)].filter(Boolean).join(", ");
  const isNumber = (name) => !["BOOLEAN", "VARCHAR"].includes(metrics[name].type);

  // The measures of a cell's page: those with a value, or with a reason for having none.
  const listed = (cell) => report.measures.flatMap(({ title, reason, columns }) => {
    if (reason && known(cell[reason])) return [[title[0].toUpperCase() + title.slice(1), cell[reason]]];
    const names = Object.keys(columns);
    if (!names.some((name) => known(cell[name]))) return [];
    return names.filter((name) => columns[name].title).map((name) => {
      const value = written(name, cell);
      return [columns[name].title, value === null ? shared.UNKNOWN : el("span", {}, value, ` ${unitOf(name)}`)];
    });
  });
  const inTable = Object.keys(metrics).filter((name) => metrics[name].table);
  shared.metrics = { written, heading, isNumber, listed, inTable, signed };
});
