// The search page. A search is the parameters in the page's address, after "#", where no server and no log sees them,
// and its pictures, which stay in this page's memory: the browser's back button goes from search to search.

import { addPictures } from "/adding.js";
import { FILTERS, fillForm, offerFilters, readForm } from "/filters.js";
import { listen, showPictures } from "/pictures.js";
import { askAbout, showFound } from "/results.js";
import { ask, forgetToken, hasToken, Refused } from "/server.js";

const MOST = 8; // pictures of one search
const NARROW = "(max-width: 52rem)"; // as in page.css: the results stand below the form

const $ = (selector, inside = document) => inside.querySelector(selector);
const form = $("#query");
const results = $("#results");
const list = $("#found");

const kept = new Map(); // pictures of each search in the browser's history
const seen = new Map(); // rows that were found, by id
let asked = { params: new URLSearchParams(), files: [] };
let info = { n_rows: null, can_read: true, can_add: false, thresholds: [] }; // until the service tells
let running = null; // AbortController of the search under way

// ---- a search -------------------------------------------------------------------------------------------------

const rowsAsked = () => asked.params.getAll("id");
const isAsked = ({ params, files }) => files.length > 0 || params.has("id") || params.has("text");
const isSame = (a, b) =>
  String(a.params) === String(b.params) &&
  a.files.length === b.files.length &&
  a.files.every((file, place) => file === b.files[place]);

/** Asks for something else: a new place in the history, and a new search. */
function go(params, files, { reveal = false } = {}) {
  const next = { params, files };
  const same = isSame(next, asked);
  if (same && running) return;
  if (!same) {
    history.replaceState({ ...history.state, scroll: window.scrollY }, "");
    const number = `${performance.timeOrigin} ${kept.size}`; // not that of a search before the page was loaded again
    kept.set(number, files);
    history.pushState({ number, nFiles: files.length }, "", params.size ? `#${params}` : location.pathname);
    if (!matchMedia(NARROW).matches) window.scrollTo(0, 0);
  }
  put(next);
  search().then(() => reveal && revealResults());
}

/** Makes the page show what is asked, which it does not ask yet. */
function put(next) {
  asked = next;
  fillForm(asked.params);
  const box = asked.params.get("box")?.split(",").map(Number) ?? null;
  showPictures({ files: asked.files, rows: rowsAsked().map(nameRow), box }, { leaveOut, askBox });
  putDetails();
  const words = asked.params.getAll("text").join(", ");
  document.title = words ? `${words} – resight` : "resight";
}

function nameRow(id) {
  const row = seen.get(id);
  if (!row) return { id, name: `row ${id}`, image: `/image/${encodeURIComponent(id)}` };
  const name = row.identity === null ? "a row of unknown identity" : `a row of identity ${row.identity}`;
  return { id, name, image: row.image };
}

/** The form as it stands, with the rows and the box, which are no fields of it. */
function current() {
  const params = readForm();
  for (const id of rowsAsked()) params.append("id", id);
  if (asked.params.has("box")) params.set("box", asked.params.get("box"));
  return params;
}

/** The same without some of it. */
function currentWithout(...names) {
  const params = current();
  for (const name of names) params.delete(name);
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
    showAnswer(await ask("/search", { method: "POST", body, signal: controller.signal, waiting: say }));
  } catch (error) {
    if (error.name === "AbortError") return; // another search is under way
    if (!(error instanceof Refused)) throw error;
    show([], []);
    $("#empty").replaceChildren();
    say("");
    complain(error.message, error.later ? search : null);
  } finally {
    if (running === controller) {
      running = null;
      results.removeAttribute("aria-busy");
    }
  }
}

function showAnswer({ found, notes, by, seconds }) {
  for (const row of found) seen.set(row.id, row);
  show(found, notes, by);
  if (found.length === 0) showEmpty();
  else $("#empty").replaceChildren();
  const time = seconds < 1 ? `${Math.max(1, Math.round(1000 * seconds))} ms` : `${seconds.toFixed(1)} s`;
  say(`${found.length || "Nothing"} found by ${by === "both" ? "picture and words" : by} in ${time}`);
}

function show(found, notes, by) {
  const thresholds = by === "picture" ? info.thresholds.map(({ similarity }) => similarity) : [];
  const marks = [...new Set([thresholds.at(0), thresholds.at(-1)])].filter(Number.isFinite);
  showFound(list, found, { marks, byRow, more });
  $("#notes").replaceChildren(...notes.map((note) => made("li", note)));
  $("#notes").hidden = notes.length === 0;
}

const made = (name, textContent) => Object.assign(document.createElement(name), { textContent });

/** The page when nothing is asked. */
function showNothing() {
  results.removeAttribute("aria-busy");
  show([], []);
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
  const clear = Object.assign(made("button", "Clear the filters"), { type: "button" });
  clear.addEventListener("click", clearFilters);
  $("#empty").append(clear);
}

function tell(title, paragraphs) {
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
  const params = currentWithout("text", "without", "text_weight", "box", "id");
  params.append("id", row.id);
  go(params, [], { reveal: true });
}

async function more(row) {
  const canGrow = rowsAsked().length > 0 && !rowsAsked().includes(row.id);
  const wanted = await askAbout(row, { canRemove: info.can_add, canGrow });
  if (wanted === "by") byRow(row);
  if (wanted === "remove") await remove(row);
  if (wanted === "too") {
    const params = current();
    params.append("id", row.id);
    go(params, asked.files, { reveal: true });
  }
  if (wanted === "identity") {
    const params = currentWithout("identity", "one_each");
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
    ((next && $("button", next)) ?? results).focus();
    say(removed ? "One row is removed." : "The row was gone already.");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    complain(error.message);
  }
}

// ---- pictures -------------------------------------------------------------------------------------------------

/** Pictures that were chosen, pasted or dropped. join: they show the individual that is asked already. */
function take(files, { join }) {
  const pictures = files.filter((file) => file.type === "" || file.type.startsWith("image/"));
  const wrong = files.find((file) => !pictures.includes(file));
  const all = join ? [...asked.files, ...pictures] : pictures;
  if (all.length > MOST) complain(`${all.length} pictures: at most ${MOST} of one individual.`);
  else if (pictures.length > 0) go(currentWithout("box", "id"), all);
  if (wrong) complain(`${wrong.name}: is not a picture.`);
}

/** part: a file, or a row's id. */
function leaveOut(part) {
  const params = currentWithout("box", "id");
  for (const id of rowsAsked()) if (id !== part) params.append("id", id);
  go(params, asked.files.filter((file) => file !== part));
  $("#choose").focus();
}

function askBox(box) {
  const params = currentWithout("box");
  if (box) params.set("box", box.join(","));
  go(params, asked.files);
}

async function add() {
  const n = await addPictures(asked.files, asked.params.get("box"));
  if (n === null) return;
  await refresh();
  complain("");
  if (!isAsked(asked)) showNothing();
  say(n === 0 ? "It was in the gallery already." : n === 1 ? "One picture is added." : `${n} pictures are added.`);
}

// ---- the form -------------------------------------------------------------------------------------------------

/** What depends on what the form says. */
function putDetails() {
  const { text, text_weight, share } = form.elements;
  const nPictures = asked.files.length + rowsAsked().length;
  $("#weight").hidden = text.value.trim() === "" || nPictures === 0;
  share.value = `${Math.round(100 * text_weight.value)} % words`;
  $("#picture-actions").hidden = asked.files.length === 0;
  $("#another-label").hidden = rowsAsked().length > 0 || nPictures >= MOST;
  $("#add").hidden = !info.can_add;
  const params = readForm();
  const n = FILTERS.reduce((sum, name) => sum + params.getAll(name).length, 0);
  $("#n-filters").textContent = n ? `${n} set` : "";
  $("#clear-filters").hidden = n === 0;
  for (const area of form.querySelectorAll("textarea")) {
    area.rows = Math.max(area === text ? 2 : 1, area.value.split("\n").length);
  }
}

function clearFilters() {
  go(currentWithout(...FILTERS), asked.files);
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
  if (!isAsked({ params, files: asked.files })) return complain("Nothing is asked. Give a picture or words.");
  go(params, asked.files, { reveal: matchMedia(NARROW).matches });
});
form.addEventListener("reset", (event) => {
  event.preventDefault();
  go(new URLSearchParams(), []);
});
form.addEventListener("input", putDetails);
form.addEventListener("change", ({ target }) => {
  const atOnce = target.matches("select, [type=checkbox], [type=range], [type=number]") && target.validity.valid;
  if (atOnce && isAsked({ params: current(), files: asked.files })) go(current(), asked.files);
});
for (const area of form.querySelectorAll("textarea")) area.addEventListener("keydown", submitOnEnter);
listen({ take, askBox, complain });
$("#add").addEventListener("click", add);
$("#clear-filters").addEventListener("click", clearFilters);
$(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // what stands after "#" is the search
  revealResults();
});

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
  const params = new URLSearchParams(location.hash.slice(1));
  if (files.length !== 1) params.delete("box"); // it went with its picture
  put({ params, files });
  if (FILTERS.some((name) => params.has(name))) $("#filters").open = true;
  await search();
  if (nFiles > files.length) complain("The search's pictures went when the page was loaded again. Choose them again.");
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
