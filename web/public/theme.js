// Before the first paint: the theme the person chose, else the system's. A file of its own, because
// the content security policy allows no script inside the page. `src/hooks/useTheme.ts` writes the
// choice. Storage may be closed to us; then the system's theme holds.
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem("ringfence.theme");
  } catch (_) {
    chosen = null;
  }
  var dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("pf-v6-theme-dark", dark);
})();
