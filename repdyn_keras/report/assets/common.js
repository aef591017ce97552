// What the scripts of all pages share; it comes before each of them.

const byId = (id) => document.getElementById(id);

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

// Index of the epoch that is nearest to another one on the axis of log2(1 + epoch).
function nearest(epochs, epoch) {
  const distances = epochs.map((one) => Math.abs(Math.log2(1 + one) - Math.log2(1 + epoch)));
  return distances.indexOf(Math.min(...distances));
}

// A button that plays: `restart` is called at its start, and `next` at each step, until it returns
// false.
function setUpPlayer(button, restart, next) {
  let timer = null;
  const show = (playing) => {
    button.textContent = playing ? "Pause" : "Play";
    button.setAttribute("aria-pressed", String(playing));
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    show(false);
  };
  button.addEventListener("click", () => {
    if (timer !== null) {
      stop();
      return;
    }
    show(true);
    restart();
    timer = setInterval(() => next() || stop(), 350);
  });
}

// Loads the page again when the server's version of it changes.
function followVersion() {
  const version = document.documentElement.dataset.live;
  const timer = setInterval(async () => {
    const answer = await fetch("version").catch(() => null);
    const ended = byId("ended");
    if (ended) ended.hidden = answer !== null;
    if (!answer?.ok || (await answer.text()) === version) return;
    // Making the page may take longer than the next interval.
    clearInterval(timer);
    window.location.reload();
  }, 2000);
}
