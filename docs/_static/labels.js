// the theme's arrows that open a part of the menu have no name that a screen reader could say
document.addEventListener("DOMContentLoaded", () => {
  for (const arrow of document.querySelectorAll("summary:has(> .toctree-toggle)")) {
    arrow.setAttribute("aria-label", "Show or hide the pages below");
  }
});
