// Preparing a bulk send: filters the list of templates, and uploads with progress. Without this script everything works
// by its buttons, a page at a time.
"use strict";
(() => {
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

  // --- choices that nobody has saved yet, when something else on the page is sent

  const choices = () => document.getElementById("file-form");

  // The sentence why they could not be saved; empty when they are.
  async function keepChoices(lost) {
    if (!choices()?.dataset.changed) return "";
    const told = new FormData(choices());
    told.set("action", "save");
    try {
      const headers = { Accept: "application/json" };
      const answer = await fetch(window.location.href, { method: "POST", body: told, headers, credentials: "same-origin" });
      const said = await answer.json();
      if (!answer.ok) return said.problem ?? lost;
      document.querySelectorAll("input[name=version]").forEach((input) => (input.value = said.version));
      delete choices().dataset.changed;
      return "";
    } catch {
      return lost;
    }
  }

  function removal(form) {
    form.addEventListener("submit", async (event) => {
      if (!choices()?.dataset.changed) return;
      event.preventDefault();
      const refused = await keepChoices("refused");
      (refused ? choices() : form).submit(); // what is wrong with them is said beside its field
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

    async function send() {
      if (busy || !input.files.length) return;
      const most = Number(form.dataset.most);
      if (form.dataset.tooLarge && [...input.files].some((file) => file.size > most)) {
        return refuse(form.dataset.tooLarge);
      }
      busy = true;
      const refused = await keepChoices(form.dataset.lost);
      if (refused) return refuse(refused);
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

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-filter]").forEach(filterable);
    document.querySelectorAll("form[data-upload]").forEach(uploads);
    document.querySelectorAll("form[data-removal]").forEach(removal);
    choices()?.addEventListener("change", () => (choices().dataset.changed = "yes"));
  });
})();
