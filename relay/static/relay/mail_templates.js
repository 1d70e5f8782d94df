// The preview beside the text of a template. What is written is checked and rendered by the server, a moment after the
// last key: see relay/admin/template_frames.py. Without this script the button «Preview now» does the same by itself.
"use strict";
(() => {
  const PAUSE = 500;

  function once(event) {
    // A double click must not create two templates. After a while it can be sent again: the answer may have been lost.
    if (event.submitter?.formTarget) return;
    const form = event.target;
    if (!form.matches("[data-mail-templates-once], [data-mail-templates-check]")) return;
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 5000);
  }

  function editor(form) {
    const part = (name) => form.querySelector(`[data-mail-templates-${name}]`);
    const [values, none, problems, subject, button] = ["values", "none", "problems", "subject", "try"].map(part);
    let timer = 0;
    let asked = 0;

    function later() {
      clearTimeout(timer);
      timer = setTimeout(look, PAUSE);
    }

    async function look() {
      const mine = ++asked;
      let found;
      try {
        const answer = await fetch(form.dataset.mailTemplatesCheck, {
          method: "POST",
          body: new FormData(form),
          credentials: "same-origin",
        });
        if (!answer.ok || answer.redirected) return;
        found = await answer.json();
      } catch {
        return; // the network, or a restart: the next key asks again
      }
      if (mine !== asked) return; // written on meanwhile
      show(found);
      if (!found.problems.length) render();
    }

    function show(found) {
      const told = [...found.problems.map((problem) => problem.text), found.stops, found.missing, found.partials].filter(Boolean);
      problems.replaceChildren(
        ...told.map((text) => Object.assign(document.createElement("li"), { textContent: text })),
      );
      if (found.problems.length) return;
      subject.querySelector("strong").textContent = found.subject;
      subject.hidden = !found.subject;
      list(found.names);
    }

    // Fields that are there stay, with what was typed and with the focus.
    function list(names) {
      const present = new Map([...values.querySelectorAll("input")].map((input) => [input.name, input.parentElement]));
      const wanted = names.map(({ name, sample }) => present.get(`value:${name}`) ?? field(name, sample));
      for (const [name, place] of present) {
        if (!wanted.includes(place)) present.get(name).remove();
      }
      wanted.forEach((place, index) => {
        if (values.children[index] !== place) values.insertBefore(place, values.children[index] ?? null);
      });
      none.hidden = wanted.length > 0;
    }

    function field(name, sample) {
      const place = document.createElement("div");
      const label = document.createElement("label");
      const input = Object.assign(document.createElement("input"), {
        id: `value-of-${name}`,
        name: `value:${name}`,
        value: sample,
        className: "mail-templates-input",
      });
      label.htmlFor = input.id;
      label.append(Object.assign(document.createElement("code"), { textContent: name }));
      place.append(label, input);
      return place;
    }

    // A new frame each time: pages loaded one after the other into the same frame would fill the browser's history.
    function render() {
      const shown = part("frame");
      const fresh = shown.cloneNode();
      fresh.removeAttribute("src");
      shown.replaceWith(fresh);
      form.requestSubmit(button);
    }

    form.addEventListener("input", (event) => {
      if (event.target.name !== "seen") later();
    });
    if (!part("frame").hasAttribute("src")) look();
  }

  document.addEventListener("submit", once);
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-mail-templates-check]").forEach(editor);
  });
})();
