// Keeps a page true while something moves (see relay/admin/polling.py): the element with `data-poll` names the address
// that answers with the parts of the page which may have changed. Only what differs is replaced, so the place on the
// page, a selection and the focus stay. It rests while nobody looks, and ends when nothing moves, when the session has
// ended, or when the page may no longer be seen. `data-poll-seconds` is for pages that are asked more or less often; an
// answer with `data-next` leads to another page, or to this one anew.
"use strict";
(() => {
  const SHORTEST = 3000;
  const LONGEST = 15000;

  function differs(incoming) {
    const shown = document.getElementById(incoming.id);
    return shown !== null && shown.innerHTML !== incoming.innerHTML;
  }

  // Somebody is about to copy from it: it is replaced when they have let go.
  function isSelected(shown) {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed && selection.containsNode(shown, true);
  }

  function replace(incoming) {
    const shown = document.getElementById(incoming.id);
    const focused = shown.contains(document.activeElement) ? document.activeElement : null;
    const [action, link] = [focused?.getAttribute("formaction"), focused?.getAttribute("href")];
    shown.replaceWith(incoming);
    if (focused) {
      const again = [...incoming.querySelectorAll("button, a")].find((button) =>
        action ? button.getAttribute("formaction") === action : link && button.getAttribute("href") === link,
      );
      again?.focus({ preventScroll: true });
    }
  }

  function follow(place) {
    const shortest = place.dataset.pollSeconds ? place.dataset.pollSeconds * 1000 : SHORTEST;
    const longest = Math.max(shortest, LONGEST);
    let rest = shortest;

    async function look() {
      if (document.hidden) {
        document.addEventListener("visibilitychange", look, { once: true });
        return;
      }
      let answer;
      try {
        answer = await fetch(place.dataset.poll, { credentials: "same-origin" });
      } catch {
        return again(longest); // the network, or a restart: it comes back
      }
      if (answer.status >= 500) return again(longest);
      if (!answer.ok || answer.redirected) return end(); // logged out, or not allowed any more
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fragment = page.body.firstElementChild;
      if (!fragment) return end();
      if (fragment.dataset.next) return window.location.assign(fragment.dataset.next);
      const changed = [...fragment.children].filter(differs);
      const free = changed.filter((incoming) => !isSelected(document.getElementById(incoming.id)));
      free.forEach(replace);
      if (!fragment.hasAttribute("data-moving") && free.length === changed.length) return end();
      again(changed.length ? shortest : Math.min(rest * 1.3, longest));
    }

    function again(pause) {
      rest = pause;
      setTimeout(look, rest);
    }

    function end() {
      place.hidden = true;
    }

    again(shortest);
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-poll]:not([hidden])").forEach(follow);
  });
})();
