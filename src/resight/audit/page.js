"use strict";
// One card a fault; a decision is kept in this browser until it is downloaded. Nothing leaves the page.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const [header, ...rows] = read("rows");
const pictures = read("pictures");
const cards = [...document.querySelectorAll("article")];
const store = document.body.dataset.store;
const keys = { k: "keep", v: "move", m: "merge", x: "drop", s: "" };
let decisions = rows.map(() => "");
let skipped = new Set();
let current = 0;

for (const image of document.querySelectorAll("img[data-picture]")) image.src = pictures[image.dataset.picture];

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(store));
    if (Array.isArray(kept) && kept.length === rows.length) {
      decisions = kept.map((one, k) => (offered(k).includes(one) ? one : ""));
    }
  } catch { /* a browser that keeps nothing, or something else under this name: start anew */ }
}

function save() {
  try { localStorage.setItem(store, JSON.stringify(decisions)); } catch { /* the page goes on without */ }
}

function offered(k) {
  return [...cards[k].querySelectorAll("button[data-decision]")].map((button) => button.dataset.decision);
}

function show() {
  cards.forEach((card, k) => {
    card.classList.toggle("current", k === current);
    card.classList.toggle("decided", decisions[k] !== "");
    let said = "";
    for (const button of card.querySelectorAll("button[data-decision]")) {
      const chosen = button.dataset.decision === decisions[k] && (decisions[k] !== "" || skipped.has(k));
      button.setAttribute("aria-pressed", chosen);
      if (chosen) said = button.dataset.said;
    }
    card.querySelector(".said").textContent = said;
  });
  const n = decisions.filter((one) => one !== "").length;
  document.getElementById("count").textContent = `${n} of ${rows.length} decided`;
  document.querySelector("progress").value = n;
}

function go(k) {
  if (k < 0 || k >= cards.length) return;
  current = k;
  show();
  cards[k].focus({ preventScroll: true });
  cards[k].scrollIntoView({ block: "nearest" });
}

function step(by) {
  let k = current + by;
  while (k >= 0 && k < cards.length && cards[k].hidden) k += by;
  go(k);
}

function decide(k, decision) {
  if (!offered(k).includes(decision)) return;
  decisions[k] = decision;
  if (decision === "") skipped.add(k);
  save();
  current = k;
  show();
  step(1);
}

function download() {
  const place = header.indexOf("decision");
  const filled = rows.map((row, k) => row.map((cell, column) => (column === place ? decisions[k] : cell)));
  const quoted = (cell) => `"${cell.replaceAll('"', '""')}"`;
  const text = [header, ...filled].map((row) => row.map(quoted).join(",") + "\n").join("");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "decisions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function filter(kind) {
  cards.forEach((card) => { card.hidden = kind !== "" && card.dataset.kind !== kind; });
  for (const button of document.querySelectorAll("button[data-kind]")) {
    button.setAttribute("aria-pressed", button.dataset.kind === kind);
  }
  go(cards.findIndex((card) => !card.hidden));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key in keys) decide(current, keys[key]);
  else if (key === "arrowdown" || key === "j") step(1);
  else if (key === "arrowup" || key === "i") step(-1);
  else if (key === "u") { decisions[current] = ""; skipped.delete(current); save(); show(); }
  else if (key === "d") download();
  else return;
  event.preventDefault();
});
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const card = event.target.closest("article");
  if (button?.dataset.decision !== undefined) decide(cards.indexOf(card), button.dataset.decision);
  else if (button?.dataset.kind !== undefined) filter(button.dataset.kind);
  else if (button?.id === "download") download();
  else if (card) { current = cards.indexOf(card); show(); }
});
load();
current = Math.max(0, decisions.indexOf(""));
show();
cards[current].scrollIntoView({ block: "nearest" });
