// Runs before the first paint, as a classic script: the stored choice of light or dark, so that nothing flashes.
(() => {
  let choice = 'system';
  try {
    choice = localStorage.getItem('theme') || 'system';
  } catch (error) {
    // A browser that forbids storage gets the system's choice.
  }
  if (choice === 'light' || choice === 'dark') document.documentElement.dataset.theme = choice;
})();
