// What makes the pages quicker to use. Every page works without it.
"use strict";

(() => {
  const main = document.getElementById("main");

  // "5 min ago" in place of the time, which is in the title.
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  function relative(seconds) {
    const [size, unit] = units.find(([each]) => Math.abs(seconds) >= each) || [1, "s"];
    const count = Math.floor(Math.abs(seconds) / size);
    return seconds < 0 ? `in ${count} ${unit}` : `${count} ${unit} ago`;
  }
  function times(within) {
    within.querySelectorAll("time[data-relative]").forEach(element => {
      element.textContent = relative((Date.now() - Date.parse(element.dateTime)) / 1000);
    });
  }

  // Parts of a page that may take longer than the page.
  async function fetched(address) {
    const response = await fetch(address, { headers: { Accept: "text/html" } });
    if (response.redirected && new URL(response.url).pathname.endsWith("/sign-in")) location.reload();
    const text = await response.text();
    return { ok: response.ok, page: new DOMParser().parseFromString(text, "text/html") };
  }
  function load(within) {
    within.querySelectorAll("[data-load]").forEach(async element => {
      const address = element.dataset.load;
      element.removeAttribute("data-load");
      element.innerHTML = '<p class="note loading">Adding up…</p>';
      try {
        const { ok, page } = await fetched(address);
        const found = page.querySelector(".summary");
        if (!ok || !found) throw new Error(page.querySelector("main p")?.textContent || "");
        element.replaceChildren(document.adoptNode(found));
      } catch {
        element.innerHTML = '<p class="note">The totals could not be added up. Narrow the filter, or reload.</p>';
      }
    });
  }

  function copyButtons(within) {
    within.querySelectorAll("[data-copy]").forEach(button => {
      button.hidden = !navigator.clipboard;
    });
  }

  function choices(within) {
    within.querySelectorAll("[data-all]").forEach(box => {
      box.hidden = false;
    });
    within.querySelectorAll("form[data-choose]").forEach(count);
  }
  function count(form) {
    const boxes = [...form.querySelectorAll('input[name="id"]')];
    const chosen = boxes.filter(box => box.checked).length;
    const all = form.querySelector("[data-all]");
    const words = form.querySelector("[data-count]");
    if (!all || !words) return;
    all.checked = chosen > 0 && chosen === boxes.length;
    all.indeterminate = chosen > 0 && chosen < boxes.length;
    words.textContent = chosen ? `${chosen} of ${boxes.length} selected` : `Select all ${boxes.length} shown`;
    form.querySelector(".toolbar").classList.toggle("active", chosen > 0);
  }

  function prepare(within) {
    times(within);
    load(within);
    copyButtons(within);
    choices(within);
  }

  // Replaces an element by its newer self, and keeps what the reader has opened.
  function replace(old, fresh) {
    const opened = new Set(
      [...old.querySelectorAll("details[open]")].map(each => each.closest("[id]")?.id + each.textContent.slice(0, 40)),
    );
    fresh.querySelectorAll("details").forEach(each => {
      if (opened.has(each.closest("[id]")?.id + each.textContent.slice(0, 40))) each.open = true;
    });
    const { scrollX, scrollY } = window;
    old.replaceChildren(...fresh.childNodes);
    window.scrollTo(scrollX, scrollY);
    prepare(old);
    old.dispatchEvent(new CustomEvent("dashboard:replaced", { bubbles: true }));
  }

  // Live: the page is asked for again, unless somebody is working in it.
  function busy(element) {
    const active = document.activeElement;
    return (
      document.hidden ||
      (element.contains(active) && active !== element && active !== document.body) ||
      !document.getSelection().isCollapsed
    );
  }
  function refresh(element, seconds) {
    setInterval(async () => {
      if (busy(element)) return;
      try {
        const { ok, page } = await fetched(location.href);
        const fresh = page.getElementById(element.id);
        if (ok && fresh && !busy(element)) replace(element, fresh);
      } catch {
        // The next look may succeed; the time that the page shows says how old it is.
      }
    }, seconds * 1000);
  }
  if (main.dataset.live) refresh(main, Number(main.dataset.live));
  document.querySelectorAll("[data-refresh]").forEach(each => refresh(each, Number(each.dataset.refresh)));
  setInterval(() => times(document), 10000);

  // Search as you type: the list is replaced, the field stays.
  const form = document.querySelector("form[data-search]");
  const field = form?.querySelector('input[type="search"]');
  let latest = 0;
  async function search() {
    const list = document.getElementById("list");
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    const address = `${location.pathname}?${query}`;
    const mine = ++latest;
    list.classList.add("waiting");
    try {
      const { page } = await fetched(address);
      if (mine !== latest) return;
      const fresh = page.getElementById("list");
      if (fresh) replace(list, fresh);
      else list.replaceChildren(...page.getElementById("main").childNodes);
      history.replaceState(null, "", address);
      const csv = page.querySelector(".heading a");
      if (csv) document.querySelector(".heading a").href = csv.href;
    } catch {
      if (mine === latest) list.innerHTML = '<p class="notice bad" role="alert">The server does not respond. Try again.</p>';
    } finally {
      if (mine === latest) list.classList.remove("waiting");
    }
  }
  if (form) {
    let pause;
    form.addEventListener("input", event => {
      clearTimeout(pause);
      pause = setTimeout(search, event.target === field ? 250 : 0);
    });
    form.addEventListener("submit", event => {
      event.preventDefault();
      clearTimeout(pause);
      search();
    });
  }

  document.addEventListener("change", event => {
    const chooser = event.target.closest("form[data-choose]");
    if (!chooser) return;
    if (event.target.matches("[data-all]")) {
      chooser.querySelectorAll('input[name="id"]').forEach(box => {
        box.checked = event.target.checked;
      });
    }
    count(chooser);
  });

  document.addEventListener("click", async event => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => {
      button.textContent = "Copy";
    }, 1500);
  });

  // A form is sent once, however often it is clicked.
  document.addEventListener("submit", event => {
    if (event.target.method !== "post") return;
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => {
    document.querySelectorAll("form[data-sent]").forEach(each => delete each.dataset.sent);
  });

  // Keys: / searches, j and k move through the rows, x chooses one, Enter opens it.
  let row = -1;
  function rows() {
    return [...document.querySelectorAll("#list .rows tbody tr")];
  }
  function move(by) {
    const all = rows();
    if (!all.length) return;
    row = Math.max(0, Math.min(all.length - 1, row + by));
    all.forEach((each, index) => each.classList.toggle("current", index === row));
    const target = all[row].querySelector("a") || all[row].querySelector("input");
    target?.focus({ preventScroll: true });
    all[row].scrollIntoView({ block: "nearest" });
  }
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing) return;
    if (event.key === "/" && field) {
      event.preventDefault();
      field.focus();
      field.select();
    } else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "x") rows()[row]?.querySelector('input[name="id"]')?.click();
    else if (event.key === "Enter" && row >= 0 && event.target === document.body) rows()[row]?.querySelector("a")?.click();
  });

  prepare(document);
})();
