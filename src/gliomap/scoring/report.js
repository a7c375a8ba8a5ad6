"use strict";
// The viewer, sorting of tables, and the light/dark switch. `data` is what report_viewer.py made.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const method = byId("method"), other = byId("other"), slice = byId("slice"), modality = byId("modality");
const pictures = new Map(); // each strip is decoded once, when it is first shown

function strip(uri) {
  if (!pictures.has(uri)) {
    const image = new Image();
    image.src = uri;
    pictures.set(uri, image.decode().then(() => image));
  }
  return pictures.get(uri);
}

function option(value, text) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  return made;
}

function fillMethods(select) {
  const groups = new Map();
  for (const each of data.methods) {
    const label = "trained on: " + each.supervision;
    if (!groups.has(label)) {
      const group = document.createElement("optgroup");
      group.label = label;
      groups.set(label, select.appendChild(group));
    }
    groups.get(label).append(option(each.key, each.name));
  }
}

function chosen(select) {
  return data.methods.find((each) => each.key === select.value);
}

function fillSlices(recipe) {
  const found = data.recipes[recipe];
  if (slice.dataset.recipe === recipe) return;
  slice.dataset.recipe = recipe;
  const [kept, wanted] = [slice.selectedIndex, modality.value];
  slice.replaceChildren(...found.slices.map((label, i) => option(i, (i + 1) + ": " + label)));
  slice.selectedIndex = Math.min(Math.max(kept, 0), found.slices.length - 1);
  modality.replaceChildren(...Object.entries(found.modalities).map(([key, name]) => option(key, name)));
  if (wanted in found.modalities) modality.value = wanted;
}

function fillOther() {
  const kept = other.value, recipe = chosen(method).recipe;
  other.replaceChildren(option("", "nothing"));
  fillMethods(other);
  for (const each of [...other.querySelectorAll("option")]) { // other slices cannot stand beside these
    const found = data.methods.find((one) => one.key === each.value);
    if (found && found.recipe !== recipe) each.remove();
  }
  other.value = [...other.options].some((each) => each.value === kept) ? kept : "";
}

function panel(title, note) {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  caption.textContent = note ? title + ": " + note : title;
  figure.append(caption);
  return figure;
}

function drawn(recipe, title, note, layers) {
  const figure = panel(title, note), canvas = document.createElement("canvas"), at = slice.selectedIndex;
  canvas.width = recipe.width;
  canvas.height = recipe.height;
  canvas.style.aspectRatio = recipe.width + " / " + recipe.height;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", title + ", " + recipe.slices[at]);
  figure.prepend(canvas);
  return Promise.all(layers.map(strip)).then((images) => {
    const brush = canvas.getContext("2d");
    for (const image of images) {
      brush.drawImage(image, 0, at * recipe.height, recipe.width, recipe.height, 0, 0, recipe.width, recipe.height);
    }
    return figure;
  });
}

function absent(title, words) {
  const figure = panel(title), box = document.createElement("div");
  box.className = "absent";
  box.textContent = words;
  figure.prepend(box);
  return figure;
}

async function row(each) {
  const recipe = data.recipes[each.recipe], strips = each.strips, dice = each.dice[slice.selectedIndex];
  const input = recipe.strips[modality.value], own = recipe.strips[each.modality];
  const [low, high, threshold] = each.scale.map((number) => String(Number(number.toPrecision(2)))), score = dice === null ? "no tumour, no Dice" : "Dice " + dice.toFixed(2);
  const figures = await Promise.all([
    drawn(recipe, "Input, " + recipe.modalities[modality.value], "", [input]),
    strips.reconstruction ? drawn(recipe, "Reconstruction, " + recipe.modalities[each.modality], "", [strips.reconstruction])
      : absent("Reconstruction", "This method restores no image."),
    drawn(recipe, "Map", low + " to " + high + ", threshold " + threshold, [strips.map]),
    drawn(recipe, "Mask", score, [own, strips.mask]),
    ...(strips.own ? [drawn(recipe, "The method's own mask", "", [own, strips.own])] : []),
  ]);
  const heading = document.createElement("h3"), panels = document.createElement("div");
  heading.textContent = each.name + " (trained on: " + each.supervision + "; recipe " + each.recipe + ")";
  panels.className = "panels";
  panels.append(...figures);
  return [heading, panels, score];
}

let turn = 0; // of two drawings under way the later one is shown
async function show() {
  const mine = ++turn, first = chosen(method);
  fillSlices(first.recipe);
  fillOther();
  const rows = await Promise.all([first, chosen(other)].filter(Boolean).map(row));
  if (mine !== turn) return;
  byId("rows").replaceChildren(...rows.flatMap(([heading, panels]) => [heading, panels]));
  byId("said").textContent = first.name + ", slice " + slice.options[slice.selectedIndex].textContent + ", " + rows[0][2];
  const state = new URLSearchParams({ method: method.value, slice: slice.selectedIndex + 1 });
  if (other.value) state.set("beside", other.value);
  document.documentElement.dataset.shown = state.toString();
}

function step(select, by) {
  const count = select.options.length;
  select.selectedIndex = (select.selectedIndex + by + count) % count;
  return show();
}

function startViewer() {
  if (!data.methods.length) {
    byId("rows").textContent = "No slice was scored by all methods of a recipe, so there is nothing to show side by side.";
    return;
  }
  fillMethods(method);
  const asked = new URLSearchParams(location.hash.slice(1)); // page.html#method=mmccd&slice=3&beside=cyclic_unet
  method.value = asked.get("method") || data.first;
  if (!chosen(method)) method.value = data.methods[0].key;
  modality.replaceChildren(option(chosen(method).modality, ""));
  fillSlices(chosen(method).recipe);
  slice.selectedIndex = Math.min(Math.max(Number(asked.get("slice") || 1), 1), slice.options.length) - 1;
  fillOther();
  other.value = asked.get("beside") || "";
  for (const select of [method, other, slice, modality]) select.addEventListener("change", show);
  byId("before").addEventListener("click", () => step(slice, -1));
  byId("after").addEventListener("click", () => step(slice, 1));
  const keys = { ArrowLeft: [slice, -1], ArrowRight: [slice, 1], ArrowUp: [method, -1], ArrowDown: [method, 1], m: [modality, 1] };
  byId("frame").addEventListener("keydown", (event) => {
    const known = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!known || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    step(...known);
  });
  for (const link of document.querySelectorAll("a[data-method]")) {
    link.addEventListener("click", () => { method.value = link.dataset.method; show(); });
  }
  if (asked.has("method")) byId("viewer").scrollIntoView();
  return show();
}

// A cell counts as the number that it begins with. Words go behind numbers and "-" behind both, whichever way is sorted.
function value(cell) {
  const text = cell.textContent.trim();
  const found = text.replace(/,(?=\d{3})/g, "").match(/^[<>~±+(]?-?\d+(\.\d+)?(e[+-]?\d+)?/i);
  return { text, number: found ? Number(found[0].replace(/^[^\d-]/, "")) : NaN, none: text === "" || text === "-" };
}

function compare(a, b, way) {
  if (a.none || b.none) return a.none - b.none;
  const [left, right] = [Number.isNaN(a.number), Number.isNaN(b.number)];
  if (left !== right) return left - right;
  if (!left) return way * (a.number - b.number);
  return way * a.text.localeCompare(b.text);
}

function sortBy(table, head, column) {
  const way = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
  for (const each of table.tHead.rows[0].cells) each.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((line) => [value(line.cells[column]), line]);
  keyed.sort((a, b) => compare(a[0], b[0], way));
  body.append(...keyed.map(([, line]) => line));
}

for (const table of document.querySelectorAll("main table")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sortBy(table, head, column));
  });
}

byId("theme").addEventListener("click", () => {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = (root.dataset.theme || (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
});

startViewer();
