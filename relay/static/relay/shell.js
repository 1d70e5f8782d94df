// Django's two-sided lists explain their search field by a label on an icon that has no role, which nothing reads out.
"use strict";
window.addEventListener("load", () => {
  // After the listeners of Django's own scripts, which make these icons.
  setTimeout(() => {
    document.querySelectorAll(".help-tooltip[aria-label]:not([role])").forEach((icon) => icon.setAttribute("role", "img"));
  });
});
