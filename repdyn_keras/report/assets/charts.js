// Axes of epochs, colours, and charts of coloured cells.

const positionOf = (epoch) => (state.axis === "log" ? Math.log2(1 + epoch) : epoch);

// Centres and edges of the cells of the recorded epochs, in 0..1.
function epochCells() {
  const at = epochs.map(positionOf);
  if (nEpochs === 1) return { centers: [0.5], edges: [0, 1], place: () => 0.5 };
  const edges = [at[0] - (at[1] - at[0]) / 2];
  for (let i = 1; i < nEpochs; i += 1) edges.push((at[i - 1] + at[i]) / 2);
  edges.push(at[nEpochs - 1] + (at[nEpochs - 1] - at[nEpochs - 2]) / 2);
  const [low, high] = [edges[0], edges[nEpochs]];
  const scaled = (value) => (value - low) / (high - low);
  return {
    centers: at.map(scaled),
    edges: edges.map(scaled),
    place: (epoch) => scaled(positionOf(epoch)),
  };
}

function evenCells(count) {
  const edges = Array.from({ length: count + 1 }, (_, index) => index / count);
  return { edges, centers: edges.slice(1).map((edge) => edge - 0.5 / count) };
}

function indexAt(edges, share) {
  const after = edges.findIndex((edge) => edge > share);
  return Math.min(edges.length - 2, Math.max(0, (after < 0 ? edges.length : after) - 1));
}

// Epochs that can be written without touching each other, `gap` is a share of the axis. Whole ones
// come first, and those of early records where there is room.
function labelled(centers, gap) {
  const last = centers.length - 1;
  const kept = [last];
  const isWhole = (index) => Number.isInteger(epochs[index]);
  const fits = (index) => kept.every((one) => Math.abs(centers[one] - centers[index]) >= gap);
  for (const chosen of [isWhole, () => true]) {
    for (let index = 0; index < last; index += 1) {
      if (chosen(index) && fits(index)) kept.push(index);
    }
  }
  return kept;
}

function epochTicks(side, cells, host, gap) {
  host.replaceChildren();
  for (const index of labelled(cells.centers, gap)) {
    const share = 100 * cells.centers[index];
    const style = side === "x" ? `left:${share}%` : `bottom:${share}%;transform:translateY(50%)`;
    host.append(element("span", { style, text: epochTexts[index] }));
  }
}

function mark(host, kind, style) {
  host.append(element("div", { class: `mark ${kind}`, style }));
}

// Events above an axis, those of one epoch side by side; a layer's own borders are drawn as lines
// instead.
function eventMarks(host, cells, kinds = ["fit", "state", "freeze", "rate"]) {
  const drawn = {};
  for (const event of header.events.filter(({ kind }) => kinds.includes(kind))) {
    const share = cells.place(event.epoch);
    if (share < 0 || share > 1) continue;
    const symbol = element("span", { class: `symbol ${event.kind}` });
    const before = drawn[event.epoch] ?? 0;
    drawn[event.epoch] = before + 1;
    const style = `left:calc(${100 * share}% + ${9 * before}px)`;
    host.append(element("div", { class: "mark event", style, title: event.text }, symbol));
  }
}

const palette = Array.from({ length: 256 }, (_, index) => {
  const [red, green, blue] = arrays.viridis.data.subarray(3 * index, 3 * index + 3);
  return `rgb(${red},${green},${blue})`;
});

function colorOf(value, low, high) {
  if (Number.isNaN(value)) return null;
  const share = Math.min(1, Math.max(0, (value - low) / (high - low)));
  return palette[Math.round(255 * share)];
}

const rgb = classes.map(({ color }) =>
  [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)),
);

function gradient() {
  const stops = palette.filter((_, index) => index % 15 === 0);
  return `background:linear-gradient(90deg,${stops.join(",")})`;
}

function drawScale(host, low, high, unit, floors = []) {
  const strip = element("span", { class: "strip", style: gradient() });
  const letters = "abc";
  for (const [index, floor] of floors.entries()) {
    const share = (floor.middle - low) / (high - low);
    if (share < 0 || share > 1) continue;
    const letter = element("b", { text: letters[index] });
    strip.append(element("i", { style: `left:${100 * share}%`, title: floor.text }, letter));
  }
  host.replaceChildren(
    element("span", { text: low }),
    strip,
    element("span", { text: high }),
    element("span", { text: unit }),
    ...floors.map(({ text }, index) => element("span", { text: `${letters[index]}: ${text}` })),
  );
}

// A canvas of coloured cells with axes. `rows` and `columns` give edges and centres; row 0 is at
// the bottom if `upwards`. `pick(row, column)` is called by clicks and arrow keys.
class Chart {
  constructor({ title, ratio, names, upwards, pick, label }) {
    this.canvas = element("canvas", { tabindex: 0, role: "application", "aria-label": label });
    this.marks = element("div");
    this.plot = element("div", { class: "plot" }, this.canvas, this.marks);
    if (ratio) this.plot.style.aspectRatio = ratio;
    this.xTicks = element("div", { class: "ticks x", "aria-hidden": "true" });
    this.side = names
      ? element("div", { class: "names", "aria-hidden": "true" }, ...names)
      : element("div", { class: "ticks y", "aria-hidden": "true" });
    this.value = element("span", { class: "value" });
    this.caption = element("figcaption", {}, title, " ", this.value);
    const body = element("div", { class: "chart" }, this.side, this.plot, this.xTicks);
    this.figure = element("figure", { class: "charted" }, this.caption, body);
    this.upwards = upwards;
    this.place = { row: 0, column: 0 };
    this.canvas.addEventListener("click", (event) => {
      const box = this.canvas.getBoundingClientRect();
      const across = (event.clientX - box.left) / box.width;
      const down = (event.clientY - box.top) / box.height;
      const row = indexAt(this.rows.edges, upwards ? 1 - down : down);
      pick(row, indexAt(this.columns.edges, across));
    });
    this.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };
      if (!(event.key in step)) return;
      event.preventDefault();
      event.stopPropagation();
      const [rise, across] = step[event.key];
      const clip = (index, { centers }) => Math.min(centers.length - 1, Math.max(0, index));
      const row = clip(this.place.row + (upwards ? rise : -rise), this.rows);
      pick(row, clip(this.place.column + across, this.columns));
    });
  }

  draw(rows, columns, color) {
    this.rows = rows;
    this.columns = columns;
    const scale = Math.max(1, window.devicePixelRatio || 1);
    const width = Math.max(1, Math.round(this.plot.clientWidth * scale));
    const height = Math.max(1, Math.round(this.plot.clientHeight * scale));
    this.canvas.width = width;
    this.canvas.height = height;
    const context = this.canvas.getContext("2d");
    const across = columns.edges.map((edge) => Math.round(edge * width));
    const down = rows.edges.map((edge) => Math.round(edge * height));
    for (let row = 0; row < rows.centers.length; row += 1) {
      const size = down[row + 1] - down[row];
      const top = this.upwards ? height - down[row + 1] : down[row];
      for (let column = 0; column < columns.centers.length; column += 1) {
        const left = across[column];
        context.fillStyle = color(row, column) ?? hatch(context);
        context.fillRect(left, top, across[column + 1] - left, size);
      }
    }
  }
}

let pattern = null;

function hatch(context) {
  if (pattern) return pattern;
  const tile = element("canvas", { width: 6, height: 6 });
  const drawing = tile.getContext("2d");
  drawing.fillStyle = "#e8e8e8";
  drawing.fillRect(0, 0, 6, 6);
  drawing.strokeStyle = "#8a8a8a";
  drawing.beginPath();
  for (const shift of [-6, 0, 6]) {
    drawing.moveTo(shift, 6);
    drawing.lineTo(shift + 6, 0);
  }
  drawing.stroke();
  pattern = context.createPattern(tile, "repeat");
  return pattern;
}

// Draws again whatever a function draws when the size of its host changes.
function onResize(host, draw) {
  let width = host.clientWidth;
  new ResizeObserver(() => {
    if (host.clientWidth === width) return;
    width = host.clientWidth;
    draw();
  }).observe(host);
}

// Radio buttons for one key of the state, which `chosen` gives as an index.
function radios(host, name, options, chosen, pick) {
  const inputs = [];
  options.forEach(({ label, children = [] }, index) => {
    const input = element("input", { type: "radio", name, value: index });
    input.addEventListener("change", () => pick(index));
    inputs.push(input);
    host.append(element("label", {}, input, ` ${label}`, ...children));
  });
  follow([name], () => {
    inputs[chosen()].checked = true;
  });
}
