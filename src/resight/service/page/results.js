// What was found, as cards, and all that is known of one row, with what can be done with it.

import { show } from "/server.js";

const VERDICTS = { match: ["✓", "match"], "ask a person": ["?", "ask a person"], unknown: ["–", "unknown"] };

const $ = (selector, inside = document) => inside.querySelector(selector);

/** Fills the list. marks: similarities from which a match is a match, shown on the bars. */
export function showFound(list, found, { marks, byRow, more }) {
  list.replaceChildren(...found.map((row, place) => card(row, place + 1, { marks, byRow, more })));
  fitFrames(list);
}

function card(row, rank, { marks, byRow, more }) {
  const item = $("#card").content.cloneNode(true).firstElementChild;
  item.dataset.id = row.id;
  const by = $(".frame", item);
  by.setAttribute("aria-label", `Search by result ${rank}: ${inWords(row)}`);
  by.addEventListener("click", () => byRow(row));
  $(".rank", item).textContent = rank;
  picture($("img", item), row.image);
  $(".similarity", item).textContent = row.similarity.toFixed(3);
  $(".bar span", item).style.width = percentOf(row.similarity);
  $(".bar", item).append(...marks.map(tick));
  showVerdict($(".verdict", item), row);
  const who = $(".who b", item);
  who.textContent = row.identity ?? "unknown";
  who.classList.toggle("nobody", row.identity === null);
  who.title = who.textContent;
  $(".more", item).setAttribute("aria-label", `More on result ${rank}: ${inWords(row)}`);
  $(".more", item).addEventListener("click", () => more(row));
  $(".where", item).textContent = camera(row);
  $(".when", item).textContent = inLocalTime(row.time, "short");
  $(".further", item).textContent = Object.entries(row.fields).map(([name, value]) => `${name} ${value}`).join(" · ");
  return item;
}

function tick(similarity) {
  const mark = document.createElement("i");
  mark.style.left = percentOf(similarity);
  return mark;
}

const percentOf = (similarity) => `${100 * Math.min(Math.max(similarity, 0), 1)}%`;
const camera = (row) => (row.camera === null ? "" : `camera ${row.camera}`);

/** A row in one line, for those who do not see it. */
function inWords(row) {
  const who = row.identity === null ? "unknown identity" : `identity ${row.identity}`;
  const judged = row.verdict ? `, ${row.verdict}` : "";
  return [who, camera(row), `similarity ${row.similarity.toFixed(3)}${judged}`].filter(Boolean).join(", ");
}

function showVerdict(line, row) {
  line.hidden = !row.verdict;
  if (!row.verdict) return;
  const [mark, name] = VERDICTS[row.verdict];
  line.classList.add(name.replaceAll(" ", "-"));
  line.firstElementChild.textContent = mark;
  line.children[1].textContent = name;
  $(".chance", line).textContent = row.probability === null ? "" : percent(row.probability);
}

/** Never 0 % or 100 %, which nothing that was learned from pairs can say. */
function percent(probability) {
  if (probability > 0.99) return "> 99 %";
  return probability < 0.01 ? "< 1 %" : `${Math.round(100 * probability)} %`;
}

/** UTC seconds as a local time; "" for null, and as they are where no calendar reaches. */
function inLocalTime(seconds, timeStyle) {
  if (seconds === null) return "";
  const date = new Date(1000 * seconds);
  if (Number.isNaN(date.getTime())) return `${seconds} s`;
  return date.toLocaleString(undefined, { dateStyle: "medium", timeStyle });
}

function picture(image, path) {
  const frame = image.parentElement;
  image.addEventListener("error", () => frame.classList.add("none"), { once: true });
  show(image, path);
}

/** Frames get the middle shape of the pictures, so that most fill them and none is cut; tall ones beside facts. */
function fitFrames(list) {
  const images = [...list.querySelectorAll("img")].slice(0, 12);
  for (const image of images) {
    image.addEventListener("load", () => {
      const known = images.filter((other) => other.naturalWidth);
      const shapes = known.map((other) => other.naturalWidth / other.naturalHeight).sort((a, b) => a - b);
      const middle = Math.min(Math.max(shapes[Math.floor(shapes.length / 2)], 0.5), 2);
      list.style.setProperty("--shape", middle.toFixed(2));
      list.classList.toggle("tall", middle < 0.85);
    });
  }
}

/** Opens what is known of a row. → "by", "too", "identity", "remove", or "" when nothing is to be done. */
export function askAbout(row, { canRemove, canGrow }) {
  const dialog = $("#row");
  $("#row-title").textContent = row.identity === null ? "Unknown identity" : `Identity ${row.identity}`;
  const frame = $(".frame", dialog);
  frame.classList.remove("none");
  frame.replaceChildren(Object.assign(new Image(), { alt: inWords(row) }));
  picture(frame.firstElementChild, row.image);
  $("dl", dialog).replaceChildren(...facts(row).flatMap(([name, value]) => [text("dt", name), text("dd", value)]));
  $("#row-chance").hidden = row.probability === null;
  $("#row-identity").hidden = row.identity === null;
  $("#row-too").hidden = !canGrow;
  $("#row-remove").hidden = !canRemove;
  sure(false);
  $("#row-remove").onclick = () => sure(true);
  $("#row-keep").onclick = () => sure(false);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}

/** Asks whether to remove the row, in place of what else could be done with it; the safe answer has the focus. */
function sure(asked) {
  $("#row-actions").hidden = asked;
  $("#row-sure").hidden = !asked;
  (asked ? $("#row-keep") : $("#row-remove")).focus();
}

function facts(row) {
  return [
    ["similarity", row.similarity.toFixed(4)],
    ...(row.verdict ? [["verdict", row.verdict]] : []),
    ...(row.probability === null ? [] : [["probability", percent(row.probability)]]),
    ["camera", row.camera ?? "unknown"],
    ["time", inLocalTime(row.time, "medium") || "unknown"],
    ...Object.entries(row.fields),
    ["id", row.id],
  ];
}

function text(name, value) {
  const made = document.createElement(name);
  made.textContent = value;
  if (name === "dd") made.dir = "auto";
  return made;
}
