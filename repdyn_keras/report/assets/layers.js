// Similarity of every layer between epochs, and layers over epochs.

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
    document.querySelector("details[data-table=similarity]").remove();
    byId("pair-title").remove();
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
  const where = `${layers[state.layer]} between epochs ${epochTexts[one]} and ${epochTexts[other]}`;
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
    mapFigure(`epoch ${epochTexts[one]}`, first),
    mapFigure(`epoch ${epochTexts[other]}`, second),
    mapFigure(`dark where they differ: ${share}`, first, second),
  );
}

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
    const where = `${layers[state.layer]}, epoch ${epochTexts[state.epoch]}`;
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
