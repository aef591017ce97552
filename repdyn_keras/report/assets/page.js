// The page of a run: all views follow one epoch, layer and plane.

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
    const busy = event.target.closest("input, select, button, summary, canvas, pre, .scroll, .table");
    if (!step || busy || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    set({ epoch: Math.min(nEpochs - 1, Math.max(0, state.epoch + step)) });
  });
  byId("bar").hidden = false;
  follow(["epoch"], () => {
    range.value = state.epoch;
    range.setAttribute("aria-valuetext", `epoch ${epochTexts[state.epoch]}`);
    byId("epoch-text").textContent = `epoch ${epochTexts[state.epoch]}`;
  });
}

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

// Loads the page again when there is a new record; the address keeps what is shown.
function setUpLive() {
  if (!document.documentElement.dataset.live) return;
  keep();
  followVersion();
}

// In a frame of a page of several runs: follows its choice, and sends it that of the user.
let receiving = false;

function setUpFrame() {
  if (window.parent === window) return;
  const send = (message) => window.parent.postMessage(message, "*");
  window.addEventListener("message", ({ data, source }) => {
    if (source !== window.parent || !data.follow) return;
    // The bar of the page of several runs moves all of them.
    document.documentElement.dataset.framed = "true";
    send({ height: document.body.scrollHeight + 2 });
    const changes = {};
    if ("epoch" in data) changes.epoch = nearest(epochs, data.epoch);
    if ("other" in data) changes.other = nearest(epochs, data.other);
    for (const [key, { options, last }] of Object.entries(KEPT)) {
      const index = last ? -1 : options.indexOf(data[key]);
      if (index >= 0) changes[key] = index;
    }
    if (measures.some(({ key }) => key === data.measure)) changes.measure = data.measure;
    if (data.axis) changes.axis = data.axis;
    receiving = true;
    set(changes);
    receiving = false;
  });
  views.push(() => {
    if (receiving) return;
    const choice = { measure: state.measure, axis: state.axis };
    choice.epoch = epochs[state.epoch];
    choice.other = epochs[state.other];
    for (const [key, { options, last }] of Object.entries(KEPT)) {
      if (!last) choice[key] = options[state[key]];
    }
    send({ choice });
  });
  new ResizeObserver(() => send({ height: document.body.scrollHeight + 2 })).observe(document.body);
  send({ ready: true });
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
