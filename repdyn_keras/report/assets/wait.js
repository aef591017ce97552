// Loads the page again when the run has records.

const version = document.documentElement.dataset.live;

setInterval(async () => {
  const answer = await fetch("version").catch(() => null);
  if (answer?.ok && (await answer.text()) !== version) window.location.reload();
}, 2000);
