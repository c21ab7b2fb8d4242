"use strict";
(() => {
  const find = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  for (const element of all(".scripted")) element.hidden = false;

  // Colours follow the system until the reader uses the button.
  const root = document.documentElement, theme = find("#theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const name = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  system.addEventListener("change", name);
  name();

  // A click on a heading sorts the table, the best first; a second click reverses the order. Words filter the rows.
  const body = find("#results tbody"), rows = all("#results tbody tr"), count = find("#count");
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
  const sort = (head) => {
    const order = head.getAttribute("aria-sort");
    const next = !order ? head.dataset.first : order === "ascending" ? "descending" : "ascending";
    for (const other of all("#results thead th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", next);
    const key = (row) => row.cells[head.cellIndex].dataset.key;
    rows.sort((one, other) => {
      const a = key(one), b = key(other);
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return next === "ascending" ? compare(a, b) : compare(b, a);
    });
    body.append(...rows);
  };
  for (const button of all("#results thead button")) button.addEventListener("click", () => sort(button.parentElement));
  find("#filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} runs`;
  });
  find("#wide").addEventListener("change", (event) => find("#results table").classList.toggle("wide", event.target.checked));

  // The reader sees one image at a time and changes it by button or arrow key.
  const images = all(".image");
  if (!images.length) return;
  let shown = images, at = 0;
  const show = (to) => {
    at = (to + shown.length) % shown.length;
    for (const image of images) image.hidden = image !== shown[at];
    find("#place").textContent = `${at + 1} of ${shown.length}`;
  };
  find("#previous").addEventListener("click", () => show(at - 1));
  find("#next").addEventListener("click", () => show(at + 1));
  find("#reason").addEventListener("change", (event) => {
    const reason = event.target.value;
    shown = images.filter((image) => !reason || image.dataset.reasons.split("|").includes(reason));
    show(0);
  });
  find("#opacity").addEventListener("input", (event) => root.style.setProperty("--opacity", event.target.value / 100));
  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, .scroll")) return;
    event.preventDefault();
    show(at + step);
  });
  show(0);
})();
