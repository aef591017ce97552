// Draws the maps of a run's page, and makes all of them follow one epoch, layer and plane.

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// --- data -----------------------------------------------------------------------------------

const TYPES = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };

// Reads the block that `payload.py` describes.
async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = Math.ceil((4 + length) / 4) * 4;
  const arrays = {};
  for (const [name, { dtype, shape, offset }] of Object.entries(header.arrays)) {
    const size = shape.reduce((product, side) => product * side, 1);
    arrays[name] = { data: new TYPES[dtype](buffer, start + offset, size), shape };
  }
  return { header, arrays };
}

const { header, arrays } = await unpack(byId("data").textContent).catch((error) => {
  byId("failed").hidden = false;
  throw error;
});
const { layers, epochs, measures, planes, classes, subsets } = header;
const nLayers = layers.length;
const nEpochs = epochs.length;

// A value of a symmetric matrix (epoch, epoch) of a layer, of which the upper triangle is stored.
function paired(name, layer, one, other, leading = 0) {
  const { data, shape } = arrays[name];
  const [i, j] = one < other ? [one, other] : [other, one];
  const at = i * nEpochs - (i * (i - 1)) / 2 + (j - i);
  return data[(leading * nLayers + layer) * shape.at(-1) + at];
}

function cell(name, row, column, leading = 0) {
  const { data, shape } = arrays[name];
  const [rows, columns] = shape.slice(-2);
  return data[(leading * rows + row) * columns + column];
}

// The regions of a layer at an epoch: rows from the lowest, classes, and which one is undefined.
function regionMap(plane, layer, epoch) {
  const { data, shape } = arrays[`regions${plane}`];
  const [, , rows, columns] = shape;
  const begin = (layer * nEpochs + epoch) * rows * columns;
  const undefinedClass = data.BYTES_PER_ELEMENT === 1 ? 255 : 65535;
  return { data: data.subarray(begin, begin + rows * columns), rows, columns, undefinedClass };
}

const format = (value, digits = 2) => (Number.isNaN(value) ? "undefined" : value.toFixed(digits));
const percent = (share) => `${(100 * share).toFixed(0)}%`;

// --- state ----------------------------------------------------------------------------------

const state = {
  ...header.start,
  plane: 0,
  measure: measures.length ? measures[0].key : null,
  subset: subsets.length ? Math.max(0, subsets.findIndex((one) => one.key === "test")) : null,
  axis: "log",
};
const views = [];
// The state in the page's address, by names that stay when records are added.
const KEPT = {
  epoch: { options: epochs.map(String), last: true },
  other: { options: epochs.map(String), last: true },
  layer: { options: layers },
  plane: { options: planes.map(({ number }) => String(number)) },
  subset: { options: subsets.map(({ key }) => key) },
};

function restore() {
  const kept = new URLSearchParams(window.location.hash.slice(1));
  for (const [key, { options, last }] of Object.entries(KEPT)) {
    const index = options.indexOf(kept.get(key));
    if (last && kept.get(key) === "last") state[key] = options.length - 1;
    else if (index >= 0) state[key] = index;
  }
  if (measures.some(({ key }) => key === kept.get("measure"))) state.measure = kept.get("measure");
  if (kept.get("axis") === "linear") state.axis = "linear";
}

function keep() {
  const kept = new URLSearchParams({ axis: state.axis });
  if (state.measure) kept.set("measure", state.measure);
  for (const [key, { options, last }] of Object.entries(KEPT)) {
    if (!options.length) continue;
    // Who looks at the last record goes on to the next one.
    kept.set(key, last && state[key] === options.length - 1 ? "last" : options[state[key]]);
  }
  window.history.replaceState(null, "", `#${kept}`);
}

function set(changes) {
  const changed = new Set(Object.keys(changes).filter((key) => state[key] !== changes[key]));
  Object.assign(state, changes);
  if (!changed.size) return;
  for (const view of views) view(changed);
  if (window.parent === window) keep();
}

// Registers a function that draws, and the parts of the state that it depends on.
function follow(keys, draw) {
  views.push((changed) => {
    if (keys.some((key) => changed.has(key))) draw();
  });
  draw();
}

// --- axes -----------------------------------------------------------------------------------

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

// Epochs that can be written without touching each other, `gap` is a share of the axis.
function labelled(centers, gap) {
  const last = centers.length - 1;
  const kept = [last];
  for (let index = 0; index < last; index += 1) {
    const before = kept.length > 1 ? centers[kept.at(-1)] : -1;
    if (centers[index] - before >= gap && centers[last] - centers[index] >= gap) kept.push(index);
  }
  return kept;
}

function epochTicks(side, cells, host, gap) {
  host.replaceChildren();
  for (const index of labelled(cells.centers, gap)) {
    const share = 100 * cells.centers[index];
    const style = side === "x" ? `left:${share}%` : `bottom:${share}%;transform:translateY(50%)`;
    host.append(element("span", { style, text: epochs[index] }));
  }
}

function mark(host, kind, style) {
  host.append(element("div", { class: `mark ${kind}`, style }));
}

// Events above an axis; a layer's own borders are drawn as lines instead.
function eventMarks(host, cells, kinds = ["fit", "state", "freeze", "rate"]) {
  for (const event of header.events.filter(({ kind }) => kinds.includes(kind))) {
    const share = cells.place(event.epoch);
    if (share < 0 || share > 1) continue;
    const symbol = element("span", { class: `symbol ${event.kind}` });
    const style = `left:${100 * share}%`;
    host.append(element("div", { class: "mark event", style, title: event.text }, symbol));
  }
}

// --- colours --------------------------------------------------------------------------------

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

// --- charts of cells ------------------------------------------------------------------------

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

// --- bar ------------------------------------------------------------------------------------

function setUpBar() {
  const range = byId("epoch");
  range.max = nEpochs - 1;
  range.addEventListener("input", () => set({ epoch: Number(range.value) }));
  follow(["axis"], () => {
    byId("axis").value = state.axis;
  });
  byId("axis").addEventListener("change", (event) => set({ axis: event.target.value }));
  setUpPlayer(
    byId("play"),
    () => state.epoch === nEpochs - 1 && set({ epoch: 0 }),
    () => {
      set({ epoch: Math.min(nEpochs - 1, state.epoch + 1) });
      return state.epoch < nEpochs - 1;
    },
  );
  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const busy = event.target.closest("input, select, button, summary, canvas, pre, .scroll");
    if (!step || busy || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    set({ epoch: Math.min(nEpochs - 1, Math.max(0, state.epoch + step)) });
  });
  byId("bar").hidden = false;
  follow(["epoch"], () => {
    range.value = state.epoch;
    range.setAttribute("aria-valuetext", `epoch ${epochs[state.epoch]}`);
    byId("epoch-text").textContent = `epoch ${epochs[state.epoch]}`;
  });
}

// --- curves ---------------------------------------------------------------------------------

function setUpCurves() {
  const host = byId("curves");
  if (!host) return;
  const { left, right, top, bottom, low, high } = Object.fromEntries(
    Object.entries(host.dataset).map(([key, value]) => [key, Number(value)]),
  );
  const overlay = element("div", {
    class: "overlay",
    style:
      `left:${100 * left}%;width:${100 * (right - left)}%;` +
      `top:${100 * top}%;height:${100 * (bottom - top)}%`,
  });
  host.append(overlay);
  // The figure's axis is log2(1 + epoch), whatever the page's is.
  const place = (epoch) => (Math.log2(1 + epoch) - low) / (high - low);
  overlay.addEventListener("click", (event) => {
    const box = overlay.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width;
    const distances = epochs.map((epoch) => Math.abs(place(epoch) - at));
    set({ epoch: distances.indexOf(Math.min(...distances)) });
  });
  follow(["epoch"], () => {
    overlay.replaceChildren();
    eventMarks(overlay, { place });
    mark(overlay, "now", `left:${100 * place(epochs[state.epoch])}%`);
  });
}

// --- similarity -----------------------------------------------------------------------------

const measure = () => measures.find(({ key }) => key === state.measure);
const charts = [];

function drawMatrices() {
  const cells = epochCells();
  for (const [layer, chart] of charts.entries()) {
    chart.draw(cells, cells, (row, column) =>
      colorOf(paired(state.measure, layer, row, column), 0, 1),
    );
    epochTicks("x", cells, chart.xTicks, 0.14);
    epochTicks("y", cells, chart.side, 0.14);
  }
}

// The phases of a layer as bands below its matrix.
function markPhases(host, cells, borders) {
  if (!borders.length) return;
  const begins = [0, ...borders.map(([index]) => index), nEpochs];
  for (let phase = 0; phase + 1 < begins.length; phase += 1) {
    const [left, right] = [cells.edges[begins[phase]], cells.edges[begins[phase + 1]]];
    const kind = phase % 2 ? "band odd" : "band";
    mark(host, kind, `left:${100 * left}%;width:${100 * (right - left)}%`);
  }
}

function markMatrices() {
  const cells = epochCells();
  for (const [layer, chart] of charts.entries()) {
    chart.marks.replaceChildren();
    for (const [index, kind] of measure().borders[layer]) {
      const share = 100 * cells.edges[index];
      mark(chart.marks, `border ${kind}`, `left:${share}%;top:0;bottom:0;border-left-width:2px`);
      mark(chart.marks, `border ${kind}`, `bottom:${share}%;left:0;right:0;border-top-width:2px`);
    }
    markPhases(chart.marks, cells, measure().borders[layer]);
    eventMarks(chart.marks, cells, ["fit", "rate"]);
    mark(chart.marks, "now", `left:${100 * cells.centers[state.epoch]}%`);
    const chosen = layer === state.layer;
    chart.figure.classList.toggle("chosen", chosen);
    if (chosen) {
      const [left, low] = [cells.edges[state.epoch], cells.edges[state.other]];
      const width = cells.edges[state.epoch + 1] - left;
      const height = cells.edges[state.other + 1] - low;
      mark(
        chart.marks,
        "cell",
        `left:${100 * left}%;bottom:${100 * low}%;` +
          `width:${100 * width}%;height:${100 * height}%;min-width:7px;min-height:7px`,
      );
    }
    chart.place = { row: state.other, column: state.epoch };
    const value = paired(state.measure, layer, state.epoch, state.other);
    chart.value.textContent = format(value);
  }
}

function setUpSimilarity() {
  const host = byId("matrices");
  if (!measures.length) {
    host.append(element("p", { class: "note", text: "No similarity is defined at any epoch." }));
    return;
  }
  const options = measures.map(({ name }) => ({ label: name }));
  const chosen = () => measures.findIndex(({ key }) => key === state.measure);
  radios(byId("measures"), "measure", options, chosen, (index) =>
    set({ measure: measures[index].key }),
  );
  for (const [layer, name] of layers.entries()) {
    const chart = new Chart({
      title: name,
      ratio: "1",
      upwards: true,
      label: `Similarity of ${name} between all epochs; arrow keys choose two epochs`,
      pick: (row, column) => set({ layer, other: row, epoch: column }),
    });
    charts.push(chart);
    host.append(chart.figure);
  }
  follow(["measure"], () => drawScale(byId("scale"), 0, 1, measure().unit, measure().floors));
  follow(["measure", "axis"], drawMatrices);
  follow(["measure", "axis", "epoch", "other", "layer"], markMatrices);
  follow(["measure", "epoch", "other", "layer", "plane"], drawPair);
  onResize(host, drawMatrices);
}

function drawPair() {
  const { key, name, hasInterval } = measure();
  const [one, other] = [state.epoch, state.other];
  const value = paired(key, state.layer, one, other);
  const where = `${layers[state.layer]} between epochs ${epochs[one]} and ${epochs[other]}`;
  let text = `${name} of ${where}: ${format(value, 3)}`;
  if (hasInterval && !Number.isNaN(value)) {
    const bounds = [0, 1].map((bound) =>
      paired(`${key}_interval`, state.layer, one, other, bound),
    );
    const over = key === "cka" ? "images" : "planes";
    text += bounds.some(Number.isNaN)
      ? " (no interval)"
      : ` (95% interval over ${over}: ${bounds.map((bound) => format(bound, 3)).join(" to ")})`;
  }
  byId("pair-text").textContent = `${text}.`;
  if (!planes.length) return;
  const first = regionMap(state.plane, state.layer, one);
  const second = regionMap(state.plane, state.layer, other);
  let differing = 0;
  first.data.forEach((label, index) => {
    if (label !== second.data[index]) differing += 1;
  });
  const share = percent(differing / first.data.length);
  byId("pair").replaceChildren(
    mapFigure(`epoch ${epochs[one]}`, first),
    mapFigure(`epoch ${epochs[other]}`, second),
    mapFigure(`dark where they differ: ${share}`, first, second),
  );
}

// --- regions --------------------------------------------------------------------------------

// Draws a map of classes, or where two maps differ.
function drawMap(canvas, map, other = null) {
  const { data, rows, columns, undefinedClass } = map;
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const from = row * columns + column;
      const to = 4 * ((rows - 1 - row) * columns + column);
      if (other) {
        const shade = data[from] === other.data[from] ? 235 : 40;
        image.data.set([shade, shade, shade, 255], to);
      } else if (data[from] !== undefinedClass) {
        image.data.set([...rgb[data[from]], 255], to);
      }
    }
  }
  context.putImageData(image, 0, 0);
}

function discs() {
  return planes[state.plane].corners.map((corner) => {
    const wrong = corner.true !== corner.given;
    const ring = wrong ? `;border-color:${classes[corner.true].color}` : "";
    const style =
      `left:${100 * corner.x}%;bottom:${100 * corner.y}%;` +
      `background:${classes[corner.given].color}${ring}`;
    return element("span", { class: wrong ? "disc wrong" : "disc", style });
  });
}

function mapFigure(title, map, other = null) {
  const canvas = element("canvas", { role: "img", "aria-label": `Decision regions, ${title}` });
  drawMap(canvas, map, other);
  const plot = element("div", { class: "plot", style: "aspect-ratio:1" }, canvas, ...discs());
  return element("figure", { class: "map" }, element("figcaption", { text: title }), plot);
}

function corner(image, label) {
  return image
    ? element("img", { src: image, alt: label, title: label })
    : element("span", { class: "swatch", title: label, role: "img", "aria-label": label });
}

function setUpRegions() {
  const host = byId("regions");
  if (!host || !planes.length) return;
  const described = ({ true: truth, given }) =>
    truth === given
      ? classes[truth].name
      : `labelled ${classes[given].name}, truly ${classes[truth].name}`;
  const options = planes.map(({ number, corners }) => ({
    label: number,
    children: corners.map((one) => corner(one.image, described(one))),
  }));
  radios(byId("planes"), "plane", options, () => state.plane, (index) => set({ plane: index }));
  const maps = layers.map((name, layer) => {
    const canvas = element("canvas", { role: "img", "aria-label": `Decision regions of ${name}` });
    const plot = element("div", { class: "plot", style: "aspect-ratio:1" }, canvas);
    host.append(
      element("figure", { class: "map" }, element("figcaption", { text: name }), plot),
    );
    return { layer, canvas, plot };
  });
  follow(["plane"], () => {
    for (const { canvas, plot } of maps) plot.replaceChildren(canvas, ...discs());
    const drawn = planes[state.plane].corners.flatMap((one) => [one.true, one.given]);
    const { data } = arrays[`regions${state.plane}`];
    const counts = new Map();
    for (const label of data) counts.set(label, (counts.get(label) ?? 0) + 1);
    const frequent = [...counts].filter(([label]) => label < classes.length);
    frequent.sort((one, other) => other[1] - one[1]);
    const most = new Set([...drawn, ...frequent.slice(0, 20).map(([label]) => label)]);
    const entries = [...most].sort((one, other) => one - other);
    byId("classes").replaceChildren(
      ...entries.map((label) => {
        const swatch = element("i", { style: `background:${classes[label].color}` });
        return element("li", {}, swatch, classes[label].name);
      }),
    );
  });
  follow(["plane", "epoch"], () => {
    for (const { layer, canvas } of maps) drawMap(canvas, regionMap(state.plane, layer, state.epoch));
  });
}

// --- layers over epochs ---------------------------------------------------------------------

const rowHeight = nLayers <= 24 ? 20 : 11;
const layerNames = () =>
  layers.map((name) => element("span", { text: name, title: name }));

// A chart of layers (from the first at the top) over epochs.
function layersOverEpochs(host, title, value) {
  const chart = new Chart({
    title,
    names: layerNames(),
    upwards: false,
    label: `${title}, by layer and epoch; arrow keys choose both`,
    pick: (row, column) => set({ layer: row, epoch: column }),
  });
  chart.plot.style.height = `${rowHeight * nLayers}px`;
  host.append(chart.figure);
  const draw = () => {
    const [rows, columns] = [evenCells(nLayers), epochCells()];
    chart.draw(rows, columns, (row, column) => colorOf(value(row, column), 0, 1));
    epochTicks("x", columns, chart.xTicks, 0.08);
  };
  follow(["axis"], draw);
  follow(["axis", "epoch", "layer", "subset"], () => {
    const columns = epochCells();
    chart.marks.replaceChildren();
    eventMarks(chart.marks, columns);
    mark(chart.marks, "now", `left:${100 * columns.centers[state.epoch]}%`);
    const [low, height] = [state.layer / nLayers, 1 / nLayers];
    const [left, right] = columns.edges.slice(state.epoch, state.epoch + 2);
    mark(
      chart.marks,
      "cell",
      `top:${100 * low}%;height:${100 * height}%;left:${100 * left}%;` +
        `width:${100 * (right - left)}%;min-width:7px`,
    );
    chart.place = { row: state.layer, column: state.epoch };
    const where = `${layers[state.layer]}, epoch ${epochs[state.epoch]}`;
    chart.value.textContent = `${where}: ${format(value(state.layer, state.epoch))}`;
  });
  onResize(host, draw);
  return draw;
}

function setUpProgress() {
  if (!header.hasProgress) return;
  layersOverEpochs(byId("progress"), "Progress", (row, column) => cell("progress", row, column));
  const progressScale = element("div", { class: "colours" });
  drawScale(progressScale, 0, 1, "share of the layer's change");
  byId("progress").prepend(progressScale);
  const host = byId("synchronization");
  const scale = element("div", { class: "colours" });
  drawScale(scale, 0.5, 1, "synchronization (1 = at the same time)");
  host.append(scale);
  const isTimed = (layer) => !Number.isNaN(cell("progress", layer, 0));
  let picked = Math.max(0, layers.findIndex((_, layer) => isTimed(layer)));
  const chart = new Chart({
    title: "Synchronization",
    ratio: "1",
    names: layerNames(),
    upwards: false,
    label: "Synchronization of every two layers; arrow keys choose them",
    pick: (row, column) => {
      picked = column;
      if (row === state.layer) markChosen();
      else set({ layer: row });
    },
  });
  host.append(chart.figure);
  const cells = evenCells(nLayers);
  const draw = () =>
    chart.draw(cells, cells, (row, column) => colorOf(cell("synchronization", row, column), 0.5, 1));
  const markChosen = () => {
    chart.marks.replaceChildren();
    const size = 100 / nLayers;
    const place = `top:${state.layer * size}%;left:${picked * size}%;`;
    mark(chart.marks, "cell", `${place}width:${size}%;height:${size}%`);
    chart.place = { row: state.layer, column: picked };
    const value = format(cell("synchronization", state.layer, picked));
    chart.value.textContent = `${layers[state.layer]} and ${layers[picked]}: ${value}`;
  };
  draw();
  follow(["layer"], markChosen);
  onResize(host, draw);
}

function setUpProbes() {
  if (!subsets.length) return;
  const options = subsets.map(({ name }) => ({ label: name }));
  drawScale(byId("accuracy-scale"), 0, 1, "accuracy (share of images)");
  const draw = layersOverEpochs(byId("probes"), "Accuracy", (row, column) =>
    cell("probe_accuracy", row, column, state.subset),
  );
  follow(["subset"], draw);
  radios(byId("subsets"), "subset", options, () => state.subset, (index) => set({ subset: index }));
}

// --- tables ---------------------------------------------------------------------------------

const asIs = Array.from(epochs, String);
const TABLES = {
  curves: () => ({
    caption: "Accuracy of the network by epoch",
    columns: subsets.map(({ name }) => name),
    rows: asIs,
    corner: "epoch",
    value: (row, column) => format(cell("probe_accuracy", nLayers - 1, row, column), 4),
  }),
  similarity: () => ({
    caption: `${measure().name} of ${layers[state.layer]} between epochs`,
    columns: asIs,
    rows: asIs,
    corner: "epoch",
    value: (row, column) => format(paired(state.measure, state.layer, row, column), 3),
  }),
  regions: () => {
    const maps = layers.map((_, layer) => regionMap(state.plane, layer, state.epoch));
    const present = [...new Set(maps.flatMap(({ data }) => [...new Set(data)]))];
    present.sort((one, other) => one - other);
    const number = planes[state.plane].number;
    return {
      caption: `Share of plane ${number} that each layer gives to a class, epoch ${epochs[state.epoch]}`,
      columns: present.map((label) => classes[label]?.name ?? "undefined"),
      rows: layers,
      corner: "layer",
      value: (row, column) => {
        const { data } = maps[row];
        const count = data.reduce((sum, label) => sum + (label === present[column]), 0);
        return format(count / data.length);
      },
    };
  },
  progress: () => ({
    caption: "Progress by layer and epoch",
    columns: asIs,
    rows: layers,
    corner: "layer",
    value: (row, column) => format(cell("progress", row, column)),
  }),
  synchronization: () => ({
    caption: "Synchronization of every two layers",
    columns: layers,
    rows: layers,
    corner: "layer",
    value: (row, column) => format(cell("synchronization", row, column)),
  }),
  probes: () => ({
    caption: `Accuracy on ${subsets[state.subset].name}, by layer and epoch`,
    columns: asIs,
    rows: layers,
    corner: "layer",
    value: (row, column) => format(cell("probe_accuracy", row, column, state.subset), 3),
  }),
};

function table({ caption, columns, rows, corner: first, value }) {
  const heading = [first, ...columns].map((text) => element("th", { scope: "col", text }));
  const lines = rows.map((name, row) =>
    element(
      "tr",
      {},
      element("th", { scope: "row", text: name }),
      ...columns.map((_, column) => element("td", { text: value(row, column) })),
    ),
  );
  return element(
    "table",
    {},
    element("caption", { text: caption }),
    element("thead", {}, element("tr", {}, ...heading)),
    element("tbody", {}, ...lines),
  );
}

function setUpTables() {
  for (const details of document.querySelectorAll("details[data-table]")) {
    const host = element("div", { class: "table", tabindex: 0, role: "region" });
    host.setAttribute("aria-label", details.textContent);
    details.append(host);
    const fill = () => {
      if (details.open) host.replaceChildren(table(TABLES[details.dataset.table]()));
    };
    details.addEventListener("toggle", fill);
    follow(["measure", "layer", "epoch", "plane", "subset"], fill);
  }
}

// --- a run that goes on ---------------------------------------------------------------------

// Loads the page again when there is a new record; the address keeps where one looks.
function setUpLive() {
  if (!document.documentElement.dataset.live) return;
  keep();
  followVersion();
}

// --- one of several runs --------------------------------------------------------------------

// In a frame of a page of several runs: follows its choice, and tells it that of the user.
let told = false;

function setUpFrame() {
  if (window.parent === window) return;
  document.documentElement.dataset.framed = "true";
  const tell = (message) => window.parent.postMessage(message, "*");
  window.addEventListener("message", ({ data, source }) => {
    if (source !== window.parent) return;
    const changes = {};
    if ("epoch" in data) changes.epoch = nearest(epochs, data.epoch);
    if ("other" in data) changes.other = nearest(epochs, data.other);
    for (const [key, { options, last }] of Object.entries(KEPT)) {
      const index = last ? -1 : options.indexOf(data[key]);
      if (index >= 0) changes[key] = index;
    }
    if (measures.some(({ key }) => key === data.measure)) changes.measure = data.measure;
    if (data.axis) changes.axis = data.axis;
    told = true;
    set(changes);
    told = false;
  });
  views.push(() => {
    if (told) return;
    const choice = { measure: state.measure, axis: state.axis };
    choice.epoch = epochs[state.epoch];
    choice.other = epochs[state.other];
    for (const [key, { options, last }] of Object.entries(KEPT)) {
      if (!last) choice[key] = options[state[key]];
    }
    tell({ choice });
  });
  new ResizeObserver(() => tell({ height: document.body.scrollHeight + 2 })).observe(document.body);
  tell({ ready: true });
}

restore();
setUpBar();
setUpCurves();
setUpSimilarity();
setUpRegions();
setUpProgress();
setUpProbes();
setUpTables();
setUpLive();
setUpFrame();
document.documentElement.dataset.ready = "true";
