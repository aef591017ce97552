// The numbers of a run, and what of them is chosen.

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
const { layers, epochs, epochTexts, measures, planes, classes, subsets } = header;
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
    // If the last record is shown, so is the next one when it appears.
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
