// Keeps a page of reports true while something moves: see reports/admin/parts.py. Only what differs is replaced, so the
// place on the page, a selection elsewhere and the focus stay. It rests while nobody looks, and ends when nothing moves,
// when the session has ended, or when the page may no longer be seen.
"use strict";
(() => {
  const SHORTEST = 3000;
  const LONGEST = 15000;

  function replace(incoming) {
    const shown = document.getElementById(incoming.id);
    if (!shown || shown.innerHTML === incoming.innerHTML) return false;
    const focused = shown.contains(document.activeElement) ? document.activeElement : null;
    const [action, link] = [focused?.getAttribute("formaction"), focused?.getAttribute("href")];
    shown.replaceWith(incoming);
    if (focused) {
      const again = [...incoming.querySelectorAll("button, a")].find((button) =>
        action ? button.getAttribute("formaction") === action : link && button.getAttribute("href") === link,
      );
      again?.focus({ preventScroll: true });
    }
    return true;
  }

  function follow(place) {
    let rest = SHORTEST;

    async function look() {
      if (document.hidden) {
        document.addEventListener("visibilitychange", look, { once: true });
        return;
      }
      let answer;
      try {
        answer = await fetch(place.dataset.reportsPoll, { credentials: "same-origin" });
      } catch {
        return again(LONGEST); // the network, or a restart: it comes back
      }
      if (answer.status >= 500) return again(LONGEST);
      if (!answer.ok || answer.redirected) return end(); // logged out, or not allowed any more
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fragment = page.body.firstElementChild;
      if (!fragment) return end();
      const changes = [...fragment.children].filter(replace).length;
      if (!fragment.hasAttribute("data-moving")) return end();
      again(changes ? SHORTEST : Math.min(rest * 1.3, LONGEST));
    }

    function again(pause) {
      rest = pause;
      setTimeout(look, rest);
    }

    function end() {
      place.hidden = true;
    }

    again(SHORTEST);
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-reports-poll]:not([hidden])").forEach(follow);
  });
})();
