// Maps of decision regions.

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
