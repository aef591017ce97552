// Keeps the pages of several runs, each in a frame of its own, at the same epoch and choice.

const frames = [...document.querySelectorAll("iframe")];
const range = byId("epoch");
const epochs = range.dataset.epochs.split(" ").map(Number);
const epochTexts = range.dataset.texts.split(" ");
const last = epochs.length - 1;

function send(choice, except = null) {
  for (const frame of frames) {
    if (frame.contentWindow !== except) {
      frame.contentWindow.postMessage({ follow: true, ...choice }, "*");
    }
  }
}

function show(index) {
  range.value = index;
  range.setAttribute("aria-valuetext", `epoch ${epochTexts[index]}`);
  byId("epoch-text").textContent = `epoch ${epochTexts[index]}`;
}

function choose(index) {
  show(index);
  send({ epoch: epochs[index] });
  return index < last;
}

window.addEventListener("message", ({ data, source }) => {
  const frame = frames.find((one) => one.contentWindow === source);
  if (!frame) return;
  if (data.height) frame.style.height = `${data.height}px`;
  if (data.ready) send({ epoch: epochs[range.value] });
  if (data.choice) {
    show(nearest(epochs, data.choice.epoch));
    send(data.choice, source);
  }
});

range.max = last;
range.addEventListener("input", () => choose(Number(range.value)));
setUpPlayer(
  byId("play"),
  () => Number(range.value) === last && choose(0),
  () => choose(Math.min(last, Number(range.value) + 1)),
);
choose(last);
