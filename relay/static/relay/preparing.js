// Preparing a bulk send: filters the list of templates, uploads with progress, and follows the check of the list until
// it is over. Without this script everything works by its buttons, a page at a time.
"use strict";
(() => {
  const SHORTEST = 1500;
  const LONGEST = 10000;

  // --- the list of templates, filtered while one types

  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  function filterable(input) {
    const list = document.getElementById(input.dataset.filter);
    const nothing = document.querySelector(`[data-filter-empty="${input.dataset.filter}"]`);
    const items = [...list.querySelectorAll("[data-text]")];
    input.addEventListener("input", () => {
      const words = plain(input.value).split(/\s+/);
      for (const item of items) {
        const text = plain(item.dataset.text);
        // What is chosen stays in sight.
        item.hidden = !item.querySelector("input:checked") && !words.every((word) => text.includes(word));
      }
      nothing.hidden = items.length === 0 || items.some((item) => !item.hidden);
    });
  }

  // --- uploads

  function uploads(form) {
    const input = form.querySelector("input[type=file]");
    const place = form.querySelector("[data-drop]");
    const shown = form.querySelector("[data-uploading]");
    const bar = shown.querySelector("progress");
    const percent = shown.querySelector("[data-percent]");
    const problem = form.querySelector("[data-problem]");
    form.querySelector("[data-without-script]").hidden = true;
    let busy = false;

    function refuse(sentence) {
      busy = false;
      shown.hidden = true;
      input.disabled = false;
      input.value = "";
      problem.textContent = sentence;
      problem.hidden = false;
    }

    function send() {
      if (busy || !input.files.length) return;
      const most = Number(form.dataset.most);
      if (form.dataset.tooLarge && [...input.files].some((file) => file.size > most)) {
        return refuse(form.dataset.tooLarge);
      }
      busy = true;
      problem.hidden = true;
      shown.hidden = false;
      const request = new XMLHttpRequest();
      request.open("POST", form.action);
      request.setRequestHeader("Accept", "application/json");
      request.responseType = "json";
      request.upload.addEventListener("progress", (event) => {
        if (!event.lengthComputable) return;
        bar.value = Math.floor((100 * event.loaded) / event.total);
        percent.textContent = String(bar.value);
      });
      request.addEventListener("error", () => refuse(form.dataset.lost));
      request.addEventListener("load", () => {
        if (request.status === 200 && request.response?.url) return window.location.assign(request.response.url);
        refuse(request.response?.problem ?? form.dataset.lost);
      });
      request.send(new FormData(form));
      input.disabled = true;
    }

    // Before Unfold's own listener on file fields, which looks for a text field that its widget would have.
    form.addEventListener(
      "change",
      (event) => {
        event.stopPropagation();
        send();
      },
      true,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send();
    });
    place.addEventListener("dragover", (event) => {
      event.preventDefault();
      place.classList.add("relay-drop-over");
    });
    place.addEventListener("dragleave", () => place.classList.remove("relay-drop-over"));
    place.addEventListener("drop", (event) => {
      event.preventDefault();
      place.classList.remove("relay-drop-over");
      if (busy || !event.dataTransfer.files.length) return;
      input.files = event.dataTransfer.files;
      send();
    });
  }

  // --- the check

  function follow(place) {
    let rest = SHORTEST;

    async function look() {
      if (document.hidden) {
        document.addEventListener("visibilitychange", look, { once: true });
        return;
      }
      let answer;
      try {
        answer = await fetch(place.dataset.preparationPoll, { credentials: "same-origin" });
      } catch {
        return again(LONGEST); // the network, or a restart: it comes back
      }
      if (answer.status >= 500) return again(LONGEST);
      if (!answer.ok || answer.redirected) return; // logged out, or not allowed any more
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const incoming = page.getElementById("preparation-progress");
      if (!incoming) return;
      if (incoming.dataset.next) return window.location.assign(incoming.dataset.next);
      if (!incoming.hasAttribute("data-moving")) return window.location.reload();
      const shown = place.firstElementChild;
      const changed = shown.innerHTML !== incoming.innerHTML;
      if (changed) shown.replaceWith(incoming);
      again(changed ? SHORTEST : Math.min(rest * 1.3, LONGEST));
    }

    function again(pause) {
      rest = pause;
      setTimeout(look, rest);
    }

    if (place.querySelector("[data-moving]")) again(SHORTEST);
  }

  // --- a double click saves once

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form[data-once]")) return;
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 5000);
  });

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-filter]").forEach(filterable);
    document.querySelectorAll("form[data-upload]").forEach(uploads);
    document.querySelectorAll("[data-preparation-poll]").forEach(follow);
  });
})();
