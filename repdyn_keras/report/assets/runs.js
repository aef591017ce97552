// Keeps the pages of several runs, each in a frame of its own, at the same epoch and choice.

const byId = (id) => document.getElementById(id);
const frames = [...document.querySelectorAll("iframe")];
const range = byId("epoch");
const epochs = range.dataset.epochs.split(" ").map(Number);

function tell(choice, except = null) {
  for (const frame of frames) {
    if (frame.contentWindow !== except) frame.contentWindow.postMessage(choice, "*");
  }
}

function show(epoch) {
  const distances = epochs.map((one) => Math.abs(Math.log2(1 + one) - Math.log2(1 + epoch)));
  range.value = distances.indexOf(Math.min(...distances));
  byId("epoch-text").textContent = `epoch ${epochs[range.value]}`;
}

function choose(index) {
  show(epochs[index]);
  tell({ epoch: epochs[index] });
}

window.addEventListener("message", ({ data, source }) => {
  const frame = frames.find((one) => one.contentWindow === source);
  if (!frame) return;
  if (data.height) frame.style.height = `${data.height}px`;
  if (data.ready) tell({ epoch: epochs[range.value] });
  if (data.choice) {
    show(data.choice.epoch);
    tell(data.choice, source);
  }
});

range.max = epochs.length - 1;
range.addEventListener("input", () => choose(Number(range.value)));

const play = byId("play");
let timer = null;

function stop() {
  clearInterval(timer);
  timer = null;
  play.textContent = "Play";
  play.setAttribute("aria-pressed", "false");
}

play.addEventListener("click", () => {
  if (timer !== null) {
    stop();
    return;
  }
  play.textContent = "Pause";
  play.setAttribute("aria-pressed", "true");
  if (Number(range.value) === epochs.length - 1) choose(0);
  timer = setInterval(() => {
    if (Number(range.value) === epochs.length - 1) stop();
    else choose(Number(range.value) + 1);
  }, 350);
});

range.value = epochs.length - 1;
show(epochs.at(-1));
