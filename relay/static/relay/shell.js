// Where scripts of Django and Unfold do not fit pages of the console.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  // Unfold writes the name of a chosen file into the text field that its own widget has; others have none, and it fails.
  document.querySelectorAll("[data-drop] input[type=file]").forEach((input) => {
    input.hasChangeListener = true; // what it marks those with that it has seen to
  });
});
window.addEventListener("load", () => {
  // Django's two-sided lists explain their search field by a label on an icon that has no role, which nothing reads out.
  // After the listeners of Django's own scripts, which make these icons.
  setTimeout(() => {
    document.querySelectorAll(".help-tooltip[aria-label]:not([role])").forEach((icon) => icon.setAttribute("role", "img"));
  });
});
