// The search page. A search is the parameters in the page's address, after "#", where no server and no log sees them,
// and its pictures, which stay in this page's memory: the browser's back button goes from search to search.

import { drawOn } from "/box.js";
import { FILTERS, fillForm, lines, offerFilters, readForm, toSeconds } from "/filters.js";
import { askAbout, showFound } from "/results.js";
import { ask, forgetToken, hasToken, Refused, show } from "/server.js";

const MOST = 8; // pictures of one search
const NARROW = "(max-width: 52rem)"; // as in page.css: the results stand below the form

const $ = (selector, inside = document) => inside.querySelector(selector);
const form = $("#query");
const results = $("#results");
const list = $("#found");

const kept = new Map(); // pictures of each search in the browser's history, by number
const seen = new Map(); // rows that were found, by id
let asked = { params: new URLSearchParams(), files: [] };
let info = { n_rows: null, can_read: true, can_add: false, thresholds: [] }; // until the service tells
let running = null; // AbortController of the search under way

// ---- a search -------------------------------------------------------------------------------------------------

const nRows = () => asked.params.getAll("id").length;
const nPictures = () => asked.files.length + nRows();
const isAsked = ({ params, files }) => files.length > 0 || params.has("id") || params.has("text");
const sameFiles = (a, b) => a.length === b.length && a.every((file, place) => file === b[place]);

/** Asks for something else: a new place in the history, and a new search. */
function go(params, files, { reveal = false } = {}) {
  const same = String(params) === String(asked.params) && sameFiles(files, asked.files);
  if (same && running) return;
  if (!same) {
    history.replaceState({ ...history.state, scroll: window.scrollY }, "");
    const number = `${performance.timeOrigin} ${kept.size}`; // not that of a search before the page was loaded again
    kept.set(number, files);
    history.pushState({ number, nFiles: files.length }, "", params.size ? `#${params}` : location.pathname);
  }
  put({ params, files });
  if (!same && !matchMedia(NARROW).matches) window.scrollTo(0, 0);
  search().then(() => reveal && revealResults());
}

/** Makes the page show what is asked, which it does not ask yet. */
function put(next) {
  const pictures = ({ params, files }) => [...files, ...params.getAll("id")];
  const former = pictures(asked);
  asked = next;
  fillForm(asked.params);
  if (!sameFiles(former, pictures(asked))) putTiles();
  putBox?.(boxAsked());
  putDetails();
  const words = asked.params.getAll("text").join(", ");
  document.title = words ? `${words} – resight` : "resight";
}

/** The form as it stands, with the rows and the box, which are no fields of it. */
function current() {
  const params = readForm();
  for (const id of asked.params.getAll("id")) params.append("id", id);
  if (asked.params.has("box")) params.set("box", asked.params.get("box"));
  return params;
}

async function search() {
  running?.abort();
  running = null;
  complain("");
  if (!isAsked(asked)) {
    showNothing();
    return;
  }
  const controller = (running = new AbortController());
  results.setAttribute("aria-busy", "true");
  say("Searching …");
  const body = new FormData();
  for (const [name, value] of asked.params) body.append(name, value);
  for (const file of asked.files) body.append("picture", file, file.name);
  try {
    const answer = await ask("/search", { method: "POST", body, signal: controller.signal, waiting: say });
    showAnswer(answer);
  } catch (error) {
    if (error.name === "AbortError") return; // another search is under way
    if (!(error instanceof Refused)) throw error;
    showAnswer(null);
    complain(error.message, error.later ? search : null);
  } finally {
    if (running === controller) {
      running = null;
      results.removeAttribute("aria-busy");
    }
  }
}

function showAnswer(answer) {
  const found = answer?.found ?? [];
  for (const row of found) seen.set(row.id, row);
  const marks = answer?.by === "picture" ? info.thresholds.map(({ similarity }) => similarity) : [];
  showFound(list, found, { marks: [...new Set([marks[0], marks.at(-1)])].filter(Number.isFinite), byRow, more });
  showNotes(answer?.notes ?? []);
  $("#empty").replaceChildren();
  if (answer === null) return say("");
  if (found.length === 0) showEmpty();
  const by = answer.by === "both" ? "picture and words" : answer.by;
  const time = answer.seconds < 1 ? `${Math.max(1, Math.round(1000 * answer.seconds))} ms` : `${answer.seconds.toFixed(1)} s`;
  say(`${found.length || "Nothing"} found by ${by} in ${time}`);
}

function showNotes(notes) {
  const items = notes.map((note) => Object.assign(document.createElement("li"), { textContent: note }));
  $("#notes").replaceChildren(...items);
  $("#notes").hidden = notes.length === 0;
}

/** The page when nothing is asked. */
function showNothing() {
  results.removeAttribute("aria-busy");
  list.replaceChildren();
  showNotes([]);
  say("");
  if (info.n_rows === 0) return showEmpty();
  const ways = info.can_read ? "choose one, or write what it shows." : "choose one.";
  tell("Who or what is looked for?", [
    `Drop or paste a picture anywhere on this page, ${ways}`,
    "On a picture of a whole scene, draw a box around the one that is meant. A click on a result searches by it.",
  ]);
}

function showEmpty() {
  if (info.n_rows === 0) {
    const here = info.can_add ? ", or choose a picture here and add it." : ".";
    tell("The gallery is empty", [`Add pictures with “resight gallery add”${here}`]);
    return;
  }
  const filtered = FILTERS.some((name) => asked.params.has(name));
  tell("Nothing found", [filtered ? "No row passes the filters." : "No row can be compared with this."]);
  if (!filtered) return;
  const clear = Object.assign(document.createElement("button"), { type: "button", textContent: "Clear the filters" });
  clear.addEventListener("click", clearFilters);
  $("#empty").append(clear);
}

function tell(title, paragraphs) {
  const made = (name, textContent) => Object.assign(document.createElement(name), { textContent });
  $("#empty").replaceChildren(made("h3", title), ...paragraphs.map((line) => made("p", line)));
}

const say = (line) => ($("#status").textContent = line);

/** Shows an error, "" for none, and a button for what can be tried again. */
function complain(line, again = null) {
  $("#trouble").hidden = line === "";
  $("#trouble span").textContent = line;
  $("#again").hidden = again === null;
  $("#again").onclick = again;
}

function revealResults() {
  results.focus({ preventScroll: true });
  results.scrollIntoView({ block: "start" });
}

// ---- what can be done with a row ------------------------------------------------------------------------------

function byRow(row) {
  const params = current();
  for (const name of ["text", "without", "text_weight", "box", "id"]) params.delete(name);
  params.append("id", row.id);
  go(params, [], { reveal: true });
}

async function more(row) {
  const done = await askAbout(row, { canRemove: info.can_add, canGrow: !asked.params.getAll("id").includes(row.id) && nRows() > 0 });
  if (done === "by") byRow(row);
  if (done === "remove") await remove(row);
  const params = current();
  if (done === "too") {
    params.delete("box");
    params.append("id", row.id);
    go(params, asked.files, { reveal: true });
  }
  if (done === "identity") {
    for (const name of ["identity", "one_each"]) params.delete(name);
    params.append("identity", row.identity);
    go(params, asked.files, { reveal: true });
  }
}

async function remove(row) {
  try {
    const headers = { "Content-Type": "application/json" };
    const { removed } = await ask("/remove", { method: "POST", headers, body: JSON.stringify({ ids: [row.id] }) });
    const card = [...list.children].find((item) => item.dataset.id === row.id);
    const next = card?.nextElementSibling ?? card?.previousElementSibling;
    card?.remove();
    await refresh();
    ($("button", next ?? document.createElement("i")) ?? results).focus();
    say(removed ? "One row is removed." : "The row was gone already.");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    complain(error.message);
  }
}

// ---- pictures asked, and the box ------------------------------------------------------------------------------

let putBox = null; // shows a box on the only picture

const boxAsked = () => asked.params.get("box")?.split(",").map(Number) ?? null;

/** Pictures that were chosen, dropped or pasted. join: they show the individual that is asked already. */
function take(files, { join = false } = {}) {
  const pictures = files.filter((file) => file.type === "" || file.type.startsWith("image/"));
  const wrong = files.find((file) => !pictures.includes(file));
  if (wrong) complain(`${wrong.name}: is not a picture.`);
  if (pictures.length === 0) return;
  const params = current();
  params.delete("box");
  params.delete("id");
  const all = join ? [...asked.files, ...pictures] : pictures;
  if (all.length > MOST) return complain(`${all.length} pictures: at most ${MOST} of one individual.`);
  go(params, all);
}

function leaveOut(part) {
  const params = current();
  const ids = params.getAll("id");
  params.delete("id");
  params.delete("box");
  for (const id of ids) if (id !== part) params.append("id", id);
  go(params, asked.files.filter((file) => file !== part));
  $("#choose").focus();
}

function putTiles() {
  putBox = null;
  $("#box-fields").hidden = true;
  const tiles = [...asked.files.map(fileTile), ...asked.params.getAll("id").map(rowTile)];
  $("#asked").replaceChildren(...tiles);
  $("#asked").classList.toggle("one", tiles.length === 1);
}

function tile(name, part) {
  const item = $("#tile").content.cloneNode(true).firstElementChild;
  $("img", item).alt = name;
  $(".out", item).setAttribute("aria-label", `Leave out ${name}`);
  $(".out", item).addEventListener("click", () => leaveOut(part));
  return item;
}

function rowTile(id) {
  const row = seen.get(id);
  const item = tile(row ? `a row of ${row.identity === null ? "unknown identity" : `identity ${row.identity}`}` : `row ${id}`, id);
  show($("img", item), row?.image ?? `/image/${encodeURIComponent(id)}`);
  return item;
}

function fileTile(file) {
  const item = tile(file.name, file);
  const image = $("img", item);
  const address = URL.createObjectURL(file);
  image.addEventListener("load", () => {
    URL.revokeObjectURL(address);
    if (nPictures() === 1 && item.isConnected) letDraw(item, image);
  });
  image.addEventListener("error", () => {
    URL.revokeObjectURL(address);
    image.parentElement.classList.add("none"); // the service may still read it, or says why not
  });
  image.src = address;
  return item;
}

const boxFields = [...$("#box-fields").querySelectorAll("input")];

function letDraw(item, image) {
  const size = [0, 0, image.naturalWidth, image.naturalHeight];
  boxFields.forEach((field, place) => {
    field.placeholder = size[place];
    field.max = size[2 + (place % 2)];
  });
  $("#box-fields").hidden = false;
  const onPicture = drawOn($(".stage", item), image, $(".box", item), { moving: fillBox, done: askBox });
  putBox = (box) => {
    onPicture(box);
    fillBox(box);
  };
  putBox(boxAsked());
}

const fillBox = (box) => boxFields.forEach((field, place) => (field.value = box ? box[place] : ""));

function askBox(box) {
  const params = current();
  params.delete("box");
  if (box) params.set("box", box.join(","));
  go(params, asked.files);
}

/** A field that is left empty is the picture's edge. */
function typeBox() {
  if (boxFields.every((field) => field.value === "")) return askBox(null);
  const [left, top, right, bottom] = boxFields.map((field) => Math.round(Number(field.value || field.placeholder)));
  const fits = 0 <= left && left < right && right <= boxFields[2].max && 0 <= top && top < bottom && bottom <= boxFields[3].max;
  if (fits) askBox([left, top, right, bottom]);
  else complain(`Box ${left}, ${top}, ${right}, ${bottom}: must lie in the picture of ${boxFields[2].max} × ${boxFields[3].max} pixels.`);
}

// ---- the form -------------------------------------------------------------------------------------------------

/** What depends on what the form says. */
function putDetails() {
  const words = form.elements.text.value.trim() !== "";
  $("#weight").hidden = !(words && nPictures() > 0);
  form.elements.share.value = `${Math.round(100 * form.elements.text_weight.value)} % words`;
  $("#picture-actions").hidden = asked.files.length === 0;
  $("#another-label").hidden = nRows() > 0 || nPictures() >= MOST;
  $("#whole").hidden = !asked.params.has("box");
  $("#add").hidden = !(info.can_add && asked.files.length > 0);
  const params = readForm();
  const n = FILTERS.reduce((sum, name) => sum + params.getAll(name).length, 0);
  $("#n-filters").textContent = n ? `${n} set` : "";
  $("#clear-filters").hidden = n === 0;
  for (const area of form.querySelectorAll("textarea")) area.rows = Math.max(area.name === "text" ? 2 : 1, area.value.split("\n").length);
}

function clearFilters() {
  const params = current();
  FILTERS.forEach((name) => params.delete(name));
  go(params, asked.files);
}

/** Submits on Enter, which in these fields is not often meant as a new line; Shift and Enter make one. */
function submitOnEnter(event) {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const wrong = [...form.elements].find((control) => control.willValidate && !control.validity.valid);
  if (wrong) return wrong.reportValidity();
  const params = current();
  if (isAsked({ params, files: asked.files })) return go(params, asked.files, { reveal: matchMedia(NARROW).matches });
  complain("Nothing is asked. Give a picture or words.");
});
form.addEventListener("reset", (event) => {
  event.preventDefault();
  go(new URLSearchParams(), []);
});
form.addEventListener("input", putDetails);
form.addEventListener("change", ({ target }) => {
  if (boxFields.includes(target)) return typeBox();
  const atOnce = target.matches("select, [type=checkbox], [type=range], [type=number]") && target.validity.valid;
  if (atOnce && isAsked({ params: current(), files: asked.files })) go(current(), asked.files);
});
for (const area of form.querySelectorAll("textarea")) area.addEventListener("keydown", submitOnEnter);
for (const [selector, join] of [["#choose", false], ["#another", true]]) {
  $(selector).addEventListener("change", ({ target }) => {
    take([...target.files], { join });
    target.value = ""; // the same file can be chosen again
  });
}
$("#whole").addEventListener("click", () => askBox(null));
$("#clear-filters").addEventListener("click", clearFilters);
$(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // what stands after "#" is the search
  revealResults();
});

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (files.length === 0 || $("dialog[open]")) return;
  event.preventDefault();
  take(files);
});
const hasFiles = (event) => event.dataTransfer.types.includes("Files") && !$("dialog[open]");
document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!hasFiles(event)) return;
  event.preventDefault();
  take([...event.dataTransfer.files], { join: event.target.closest("#another-label") !== null });
});

// ---- adding to the gallery ------------------------------------------------------------------------------------

const adding = $("#adding");

$("#add").addEventListener("click", () => {
  const n = asked.files.length;
  const which = n === 1 ? asked.files[0].name : `${n} pictures of one individual`;
  $("#adding-what").textContent = asked.params.has("box") ? `${which}, what is in the box` : which;
  $(".trouble", adding).textContent = "";
  adding.showModal();
});
$("#adding-cancel").addEventListener("click", () => adding.close());
$("form", adding).addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = $("[type=submit]", adding);
  button.disabled = true;
  try {
    let n = 0;
    for (const file of asked.files) n += Number((await ask("/add", { method: "POST", body: addition(file) })).added);
    adding.close();
    $("form", adding).reset();
    await refresh();
    complain("");
    if (!isAsked(asked)) showNothing();
    say(n === 0 ? "It was in the gallery already." : n === 1 ? "One picture is added." : `${n} pictures are added.`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    $(".trouble", adding).textContent = error.message;
  } finally {
    button.disabled = false;
  }
});

function addition(file) {
  const { identity, camera, time, field } = $("form", adding).elements;
  const body = new FormData();
  body.append("picture", file, file.name);
  const known = { identity: identity.value.trim(), camera: camera.value.trim(), time: toSeconds(time.value) };
  for (const [name, value] of Object.entries(known)) if (value !== "") body.append(name, value);
  for (const line of lines(field.value)) body.append("field", line);
  if (asked.params.has("box")) body.append("box", asked.params.get("box"));
  return body;
}

// ---- the beginning --------------------------------------------------------------------------------------------

/** Asks what the gallery has, and offers it; what is typed stays. */
async function refresh() {
  info = await ask("/info");
  const typed = current();
  offerFilters(info);
  fillForm(typed);
  putDetails();
  const count = (n, one, several) => `${n.toLocaleString()} ${n === 1 ? one : several}`;
  const counts = [count(info.n_rows, "picture", "pictures"), count(info.n_identities, "identity", "identities")];
  if (info.n_cameras) counts.push(count(info.n_cameras, "camera", "cameras"));
  $("#about").textContent = [...counts, info.encoder, ...(info.calibrated ? [] : ["not calibrated"])].join(" · ");
  $("#forget-token").hidden = !hasToken();
  form.elements.text.disabled = form.elements.without.disabled = !info.can_read;
  $("#no-words").hidden = info.can_read;
}

/** The search that the address tells of: after a reload, by a link, or by the back button. */
async function fromAddress() {
  const { number, nFiles = 0, scroll = 0 } = history.state ?? {};
  const files = kept.get(number) ?? [];
  put({ params: new URLSearchParams(location.hash.slice(1)), files });
  if (FILTERS.some((name) => asked.params.has(name))) $("#filters").open = true;
  await search();
  if (nFiles > files.length) complain("The pictures of this search went when the page was loaded again. Choose them again.");
  window.scrollTo(0, scroll);
}

async function start() {
  complain("");
  try {
    await refresh();
    await fromAddress();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    complain(error.message, start);
  }
}

window.addEventListener("popstate", fromAddress);
$("#forget-token").addEventListener("click", () => {
  forgetToken();
  location.reload();
});
history.scrollRestoration = "manual";
start();
