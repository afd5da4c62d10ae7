"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);
  const figures = all("figure");

  // Filter by status and name: the same for failures, pictures and table rows. Long lists show
  // their beginning, so that thousands of slides stay quick to lay out.
  const items = all("[data-status]");
  const body = one(".slides tbody");
  const lists = [
    { entries: () => figures, first: 12, step: 96, button: one("#more-pictures") },
    { entries: () => all("tr", body), first: 200, step: 5000, button: one("#more-rows") },
  ].filter((list) => list.button);
  let status = "";

  const cutShort = (list) => {
    const fitting = list.entries().filter((entry) => !entry.hidden);
    for (const entry of fitting.slice(list.shown)) entry.hidden = true;
    list.button.hidden = fitting.length <= list.shown;
    list.button.textContent = `Show more (${fitting.length - list.shown} left)`;
  };
  const refresh = () => {
    const name = one(".search").value.trim().toLowerCase();
    for (const item of items) {
      item.hidden = !((!status || item.dataset.status === status) && item.dataset.name.includes(name));
    }
    for (const box of all(".group")) box.hidden = !box.querySelector("article:not([hidden])");
    for (const box of all("[data-section]")) box.hidden = !box.querySelector("[data-status]:not([hidden])");
    const rows = all("tr:not([hidden])", body).length;
    one("#rows-shown").textContent = rows < body.rows.length ? `${rows} of ${body.rows.length}` : "";
    lists.forEach(cutShort);
  };
  const restart = () => {
    for (const list of lists) list.shown = list.first;
    refresh();
  };
  for (const list of lists) {
    list.button.addEventListener("click", () => {
      list.shown += list.step;
      refresh();
    });
  }

  for (const button of all(".filter")) {
    button.addEventListener("click", () => {
      status = button.dataset.filter === status ? "" : button.dataset.filter;
      for (const other of all(".filter")) {
        other.setAttribute("aria-pressed", String(other.dataset.filter === status));
      }
      restart();
    });
  }
  let pause = 0;
  one(".search").addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(restart, 120);
  });
  addEventListener("beforeprint", () => {
    for (const list of lists) if (list.button.id === "more-rows") list.shown = Infinity;
    refresh();
  });
  addEventListener("afterprint", restart);

  // Sort the table by a column: numbers from the largest, words from A; a second click turns it.
  // Cells without a number stay last.
  const heads = all(".slides thead th");
  const words = new Intl.Collator(undefined, { numeric: true });
  const byWords = (a, b) => words.compare(a.textContent, b.textContent);
  const byNumber = (sign) => (a, b) => {
    const [x, y] = [a.dataset.value, b.dataset.value];
    if (x === undefined || y === undefined) return sign * ((x === undefined) - (y === undefined));
    return x - y;
  };
  heads.forEach((head, index) => {
    const isNumber = head.classList.contains("n");
    const first = isNumber ? "descending" : "ascending";
    const second = isNumber ? "ascending" : "descending";
    head.firstElementChild.addEventListener("click", () => {
      const order = head.getAttribute("aria-sort") === first ? second : first;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const compare = isNumber ? byNumber(sign) : byWords;
      const rows = all("tr", body);
      rows.sort((a, b) => sign * compare(a.children[index], b.children[index]));
      body.append(...rows);
      refresh();
    });
  });

  // Enlarge pictures in place; without this script the links open them.
  const viewer = one("dialog");
  let current = 0;
  const show = (step) => {
    const visible = figures.filter((figure) => !figure.hidden);
    current = (current + step + visible.length) % visible.length;
    const figure = visible[current];
    one("dialog img").src = figure.querySelector("a").href;
    one("dialog img").alt = figure.querySelector("img").alt;
    one("dialog span").textContent = all("figcaption > *", figure).map((part) => part.textContent).join(" · ");
  };
  figures.forEach((figure) => {
    figure.querySelector("a").addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      current = figures.filter((other) => !other.hidden).indexOf(figure);
      show(0);
      viewer.showModal();
    });
  });
  one("#previous").addEventListener("click", () => show(-1));
  one("#next").addEventListener("click", () => show(1));
  one("#close").addEventListener("click", () => viewer.close());
  one("dialog img").addEventListener("click", () => viewer.close());
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(-1);
    if (event.key === "ArrowRight") show(1);
  });

  one(".copy").addEventListener("click", async () => {
    const text = one(".command pre");
    getSelection().selectAllChildren(text);
    await navigator.clipboard?.writeText(text.textContent);
    one(".copy").textContent = "Copied";
  });

  restart();
  document.documentElement.classList.add("ready");
})();
