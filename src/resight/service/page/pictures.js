// The pictures that are asked: how they come in, their tiles, and the box on the only one.

import { drawOn } from "/box.js";
import { show } from "/server.js";

const $ = (selector, inside = document) => inside.querySelector(selector);
const fields = [...$("#box-fields").querySelectorAll("input")];

let shown = []; // files and ids of rows
let shownBox = null; // on the only picture
let putBox = () => {}; // once that picture can be drawn on

/** Shows files, and rows as { id, name, image }. box: [left, top, right, bottom] or null. */
export function showPictures({ files, rows, box }, { leaveOut, askBox }) {
  const parts = [...files, ...rows.map((row) => row.id)];
  shownBox = box;
  if (parts.length !== shown.length || parts.some((part, place) => part !== shown[place])) {
    shown = parts;
    putBox = () => {};
    $("#box-fields").hidden = true;
    const tiles = [
      ...files.map((file) => fileTile(file, { leaveOut, askBox })),
      ...rows.map((row) => rowTile(row, leaveOut)),
    ];
    $("#asked").replaceChildren(...tiles);
    $("#asked").classList.toggle("one", tiles.length === 1);
  }
  putBox(box);
}

function tile(name, leave) {
  const item = $("#tile").content.cloneNode(true).firstElementChild;
  $("img", item).alt = name;
  $(".out", item).setAttribute("aria-label", `Leave out ${name}`);
  $(".out", item).addEventListener("click", leave);
  return item;
}

function rowTile({ id, name, image }, leaveOut) {
  const item = tile(name, () => leaveOut(id));
  show($("img", item), image);
  return item;
}

function fileTile(file, { leaveOut, askBox }) {
  const item = tile(file.name, () => leaveOut(file));
  const image = $("img", item);
  const address = URL.createObjectURL(file);
  image.addEventListener("load", () => {
    URL.revokeObjectURL(address);
    if (shown.length === 1 && item.isConnected) letDraw(item, image, askBox);
  });
  image.addEventListener("error", () => {
    URL.revokeObjectURL(address);
    image.parentElement.classList.add("none"); // the service may still read it, or says why not
  });
  image.src = address;
  return item;
}

/** Lets a person draw or type a box. */
function letDraw(item, image, askBox) {
  const size = [0, 0, image.naturalWidth, image.naturalHeight];
  fields.forEach((field, place) => {
    field.placeholder = size[place];
    field.max = size[2 + (place % 2)];
  });
  $("#box-fields").hidden = false;
  const put = drawOn($(".stage", item), image, $(".box", item), { moving: fillFields, done: askBox });
  putBox = (box) => {
    put(box);
    fillFields(box);
  };
  putBox(shownBox);
}

function fillFields(box) {
  fields.forEach((field, place) => (field.value = box ? box[place] : ""));
  $("#whole").hidden = box === null;
}

/** The box as it was typed, null when nothing is; an empty field is the picture's edge. Throws RangeError. */
function typedBox() {
  if (fields.every((field) => field.value === "")) return null;
  const box = fields.map((field) => Math.round(Number(field.value || field.placeholder)));
  const [left, top, right, bottom] = box;
  const [width, height] = [fields[2].max, fields[3].max];
  if (0 <= left && left < right && right <= width && 0 <= top && top < bottom && bottom <= height) return box;
  throw new RangeError(`Box ${box.join(", ")}: must lie in the picture of ${width} × ${height} pixels.`);
}

/** Calls take(files, { join }) for what is chosen, pasted or dropped, and askBox(box) for what is typed. */
export function listen({ take, askBox, complain }) {
  for (const [selector, join] of [["#choose", false], ["#another", true]]) {
    $(selector).addEventListener("change", (event) => {
      const files = [...event.target.files];
      event.target.value = ""; // the same file can be chosen again
      take(files, { join });
    });
  }
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length === 0 || $("dialog[open]")) return;
    event.preventDefault();
    take(files, { join: false });
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
  $("#whole").addEventListener("click", () => askBox(null));
  $("#box-fields").addEventListener("change", (event) => {
    event.stopPropagation(); // the form asks for the rest
    try {
      askBox(typedBox());
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      complain(error.message);
    }
  });
}
