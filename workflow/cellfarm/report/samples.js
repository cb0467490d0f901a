// A plot of the raw samples of a cell: launch after launch, warm-up hollow, warm solid.
window.cellfarm.then((shared) => {
  "use strict";
  const { significant, libraryClass } = shared;
  const SVG = "http://www.w3.org/2000/svg";
  const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [190, 52, 12, 14, 24];
  const svg = (tag, attributes, text) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // The axis follows the warm samples, which a long first inference would flatten.
  const axis = (launches, cell) => {
    const warm = launches.flatMap(([, phases, ms]) => ms.filter((_, i) => phases[i] === "w"));
    const all = launches.flatMap(([, , ms]) => ms);
    const values = (warm.length ? warm : all).concat(
      [cell.latency_ci_low_ms, cell.latency_ci_high_ms].filter((v) => v !== null),
    ).filter(Number.isFinite);
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const pad = (high - low) * 0.12 || high * 0.05 || 1;
    return [Math.max(0, low - pad), high + pad];
  };

  // From a cell's [launch, number of samples of each phase] and the samples from its first on.
  const unfold = (series, ms) => {
    let offset = 0;
    return series.map(([launch, ...counts]) => {
      const phases = counts.map((count, i) => "fuw"[i].repeat(count)).join("");
      const values = Array.from(ms.subarray(offset, offset + phases.length));
      offset += phases.length;
      return [launch, phases, values];
    });
  };

  shared.drawSamples = (cell, { series, ms, step, count }, width) => {
    const launches = unfold(series, ms);
    const total = launches.reduce((sum, [, , ms]) => sum + ms.length, 0);
    const [low, high] = axis(launches, cell);
    const x = (i) => LEFT + ((i + 0.5) / total) * (width - LEFT - RIGHT);
    const y = (ms) => TOP + (1 - (ms - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    const label = `Raw samples of ${cell.model} with ${cell.label}: ${total} in ${launches.length} launches`;
    const picture = svg("svg", {
      class: `samples ${libraryClass(cell.label)}`, viewBox: `0 0 ${width} ${HEIGHT}`,
      role: "img", "aria-label": label,
    });
    if (cell.latency_ci_low_ms !== null && cell.latency_ci_high_ms !== null) {
      const top = y(cell.latency_ci_high_ms);
      const height = Math.max(1, y(cell.latency_ci_low_ms) - top);
      picture.append(svg("rect", { class: "ci-band", x: LEFT, y: top, width: width - LEFT - RIGHT, height }));
    }
    if (cell.latency_ms !== null) {
      const medianY = y(cell.latency_ms);
      picture.append(svg("line", { class: "median", x1: LEFT, x2: width - RIGHT, y1: medianY, y2: medianY }));
    }
    let index = 0;
    launches.forEach(([launch, phases, ms], position) => {
      const [from, to] = [x(index - 0.5), x(index + ms.length - 0.5)];
      if (position % 2) {
        picture.append(svg("rect", { class: "band", x: from, y: 0, width: to - from, height: HEIGHT - BOTTOM }));
      }
      if (to - from > 14) {
        picture.append(svg("text", { x: (from + to) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, launch));
      }
      ms.forEach((value, i) => {
        const markX = x(index + i);
        const phase = { f: "first inference", u: "warm-up", w: "warm" }[phases[i]] ?? "other";
        const over = value > high;
        const mark = over
          ? svg("path", { class: "over", d: `M${markX - 4} 11 l4 -7 l4 7 z` })
          : svg("circle", { class: phases[i] === "w" ? "warm" : "early", cx: markX, cy: y(Math.max(value, low)), r: 2.3 });
        mark.append(svg("title", {}, `launch ${launch}, ${phase}: ${significant(value, 4)} ms`));
        picture.append(mark);
      });
      index += ms.length;
    });
    for (const value of [low, (low + high) / 2, high]) {
      picture.append(svg("text", { x: LEFT - 7, y: y(value) + 4, "text-anchor": "end" }, significant(value)));
    }
    picture.append(svg("text", { x: LEFT - 7, y: HEIGHT - 8, "text-anchor": "end" }, "launch"));
    const every = step > 1 ? `, of which the page has one in ${step} of each launch's phase, ${total.toLocaleString("en")}` : "";
    return [picture, `Milliseconds by launch: ${count.toLocaleString("en")} samples in ${launches.length} launches${every}. ` +
      "Rounded to 1 part in 16,000; data/samples.parquet beside the page has them all as they were read. " +
      "Solid: warm; hollow: first inference and warm-up; △: above the axis. Line and band: the median and its 95 % interval."];
  };
});
