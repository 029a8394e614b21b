// The console's one script. Pages work without it, but for copying and live views; what it adds hangs on data- attributes:
//   data-key          the keys that follow a link, or bring the cursor to a field
//   data-copy         copies the text of the element it names
//   data-append/-to   adds a line to a text field
//   data-shows        shows what it names only while this is chosen
//   data-sentence     says in words which scopes are chosen
//   data-select-all   ticks every box of its table
//   data-live         is replaced every three seconds by what its address answers
//   data-uncopied     asks once before it is left without a copy
//   data-replace-address  what a reload opens instead of sending a form again
"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Before anything is painted.
  const chosen = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const applyTheme = () => {
    const theme = chosen();
    if (theme === "light" || theme === "dark") root.dataset.theme = theme; else delete root.dataset.theme;
  };
  applyTheme();

  // Only fragments of our own pages become elements.
  const policy = window.trustedTypes?.createPolicy("keyrack", { createHTML: (text) => text });
  const parse = (text) => new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, "text/html");

  const toast = (words) => {
    const box = document.querySelector(".toasts");
    const one = document.createElement("div");
    one.className = "toast";
    one.textContent = words;
    box.append(one);
    retire(one);
  };

  // Gone after six seconds, but not from under a pointer or the cursor.
  const retire = (one) => {
    const goes = () => { if (one.matches(":hover, :focus-within")) setTimeout(goes, 2000); else one.remove(); };
    setTimeout(goes, 6000);
  };

  // Times in the reader's own zone; UTC is told on hover.
  const localTimes = (within) => {
    for (const time of all("time[datetime]", within)) {
      const at = new Date(time.dateTime);
      if (!isNaN(at)) time.title = `${at.toLocaleString()} (${at.toISOString().replace("T", " ").slice(0, 19)} UTC)`;
    }
  };

  const copy = async (button) => {
    const source = document.querySelector(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.closest("[data-uncopied]")?.removeAttribute("data-uncopied");
      toast("Copied.");
    } catch {
      getSelection().selectAllChildren(source);
      toast("Press Ctrl+C to copy what is selected.");
    }
  };

  const showChosen = () => {
    for (const control of all("[data-shows]")) {
      document.getElementById(control.dataset.shows).dataset.shown = control.checked ? "yes" : "no";
    }
  };

  const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);

  const saySentence = () => {
    for (const sentence of all("[data-sentence]")) {
      const verbs = { read: "read", write: "write", admin: "administer" };
      const may = { read: [], write: [], admin: [] };
      for (const box of all("input[name=scope]:checked", sentence.closest("form"))) {
        const at = box.value.lastIndexOf(":");
        const resource = box.value.slice(0, at);
        may[box.value.slice(at + 1)].push(resource === "*" ? "everything" : resource);
      }
      for (const name of all("input[name^=resource]:not([type=checkbox])", sentence.closest("form"))) {
        for (const action of Object.keys(may)) {
          const box = document.getElementsByName(`${name.name}_${action}`)[0];
          if (name.value && box?.checked) may[action].push(name.value);
        }
      }
      const parts = Object.keys(may).filter((action) => may[action].length).map((action) => `${verbs[action]} ${listed(may[action])}`);
      sentence.textContent = parts.length ? `May ${listed(parts)}.` : "";
    }
  };

  const closeMenus = (but) => {
    for (const menu of all("details.menu[open]")) {
      if (menu === but) continue;
      const had = menu.contains(document.activeElement);
      menu.open = false;
      if (had) menu.querySelector("summary").focus();
    }
  };

  // The shortcuts are those that the page's links name.
  const help = () => {
    const dialog = document.createElement("dialog");
    dialog.setAttribute("aria-label", "Keyboard shortcuts");
    const list = document.createElement("dl");
    list.className = "facts";
    const add = (keys, words) => {
      const term = document.createElement("dt");
      for (const key of keys.split(" ")) {
        const one = document.createElement("kbd");
        one.textContent = key;
        term.append(one, " ");
      }
      const meaning = document.createElement("dd");
      meaning.textContent = words;
      list.append(term, meaning);
    };
    for (const one of all("[data-key]")) add(one.dataset.key, one.dataset.key === "/" ? "Search" : one.textContent.trim());
    add("↑ ↓", "Move through a table");
    add("Esc", "Close");
    add("?", "This help");
    const before = document.activeElement;
    dialog.append(list);
    document.body.append(dialog);
    dialog.addEventListener("close", () => { dialog.remove(); before?.focus(); });
    dialog.showModal();
  };

  let pressed = "";
  const follow = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return closeMenus();
    if (event.target.closest("input, textarea, select, dialog")) return;
    const row = event.target.closest("[data-rows] tbody tr");
    if (row && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const next = event.key === "ArrowDown" ? row.nextElementSibling : row.previousElementSibling;
      next?.querySelector("th a, a")?.focus();
      return event.preventDefault();
    }
    if (event.key === "?") return help();
    pressed = pressed === "g" ? `g ${event.key}` : event.key;
    const target = all("[data-key]").find((one) => one.dataset.key === pressed);
    if (target) {
      event.preventDefault();
      if (target.matches("a")) target.click(); else target.focus();
    }
    if (pressed !== "g") pressed = "";
  };

  const live = (panel) => {
    const look = async () => {
      // Who is in the middle of something there is not disturbed.
      if (!document.hidden && !panel.contains(document.activeElement)) {
        const answer = await fetch(panel.dataset.live, { credentials: "same-origin" }).catch(() => null);
        if (answer?.ok && !answer.redirected) {
          panel.replaceChildren(...parse(await answer.text()).body.childNodes);
          localTimes(panel);
        }
      }
      setTimeout(look, 3000);
    };
    look();
  };

  document.addEventListener("DOMContentLoaded", () => {
    localTimes(document);
    showChosen();
    saySentence();
    all(".toast").forEach(retire);
    all("[data-live]").forEach(live);
    const moved = document.querySelector("[data-replace-address]");
    if (moved) history.replaceState(null, "", moved.dataset.replaceAddress);
    // What was done is told once, and not again by a reload.
    const address = new URL(location.href);
    if (address.searchParams.has("done")) {
      address.searchParams.delete("done");
      history.replaceState(null, "", address);
    }
    const wrong = document.querySelector("[aria-invalid=true], [data-focus]");
    wrong?.focus();
    for (const button of all("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String((chosen() ?? "system") === button.dataset.themeChoice));
    }
  });

  document.addEventListener("click", (event) => {
    const target = event.target;
    closeMenus(target.closest("details.menu"));
    const copies = target.closest("[data-copy]");
    if (copies) return copy(copies);
    const adds = target.closest("[data-append]");
    if (adds) {
      const field = document.getElementById(adds.dataset.to);
      field.value = [field.value.trim(), adds.dataset.append].filter(Boolean).join("\n");
      return field.focus();
    }
    const theme = target.closest("[data-theme-choice]");
    if (theme) {
      try { localStorage.setItem("theme", theme.dataset.themeChoice); } catch { /* it lasts as long as the page */ }
      applyTheme();
      for (const one of all("[data-theme-choice]")) one.setAttribute("aria-pressed", String(one === theme));
    }
    if (target.closest("a[href], [data-done]") && document.querySelector("[data-uncopied]") && !target.closest(".value")) {
      const is_fine = confirm("Leave without copying? It will not be shown again.");
      if (is_fine) document.querySelector("[data-uncopied]").removeAttribute("data-uncopied"); else event.preventDefault();
    }
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-select-all]")) {
      for (const box of all("tbody input[type=checkbox][name=id]", event.target.closest("table"))) box.checked = event.target.checked;
    }
    showChosen();
    saySentence();
    if (event.target.closest("[data-filter]") && event.target.matches("select, [type=checkbox]")) event.target.form.requestSubmit();
  });
  document.addEventListener("input", saySentence);
  document.addEventListener("keydown", follow);

  // A form is sent once; a page that comes back from the browser's memory can send it again.
  document.addEventListener("submit", (event) => {
    setTimeout(() => all("button", event.target).forEach((button) => { button.disabled = true; }));
    // Files come without a new page.
    setTimeout(() => all("button", event.target).forEach((button) => { button.disabled = false; }), 4000);
  });
  addEventListener("pageshow", () => all("form button").forEach((button) => { button.disabled = false; }));
})();
