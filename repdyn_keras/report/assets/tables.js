// Everything that is shown, as tables.

const asIs = epochTexts;
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
      caption: `Share of plane ${number} that each layer gives to a class, epoch ${epochTexts[state.epoch]}`,
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
