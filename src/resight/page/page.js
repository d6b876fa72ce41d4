"use strict";
// Puts each picture in wherever it is shown, and shows on the map what is pointed at. Asks nobody for anything.
const pictures = JSON.parse(document.getElementById("pictures").textContent);
for (const image of document.querySelectorAll("img[data-picture]")) image.src = pictures[image.dataset.picture];

for (const map of document.querySelectorAll(".map")) {
  const dots = [...map.querySelectorAll("circle")];
  const card = map.parentElement.querySelector(".card");
  let shown = -1;

  const show = (number) => {
    shown = number;
    const dot = dots[number];
    const by = map.dataset.by;
    for (const one of dots) {
      one.classList.toggle("alike", one.dataset[by] === dot.dataset[by]);
      one.classList.toggle("shown", one === dot);
    }
    map.classList.add("pointed");
    const image = Object.assign(new Image(), { src: pictures[dot.dataset.picture], alt: "" });
    const name = Object.assign(document.createElement("p"), { textContent: dot.dataset.name });
    card.replaceChildren(image, name);
  };

  map.addEventListener("pointerover", (event) => {
    const number = dots.indexOf(event.target);
    if (number >= 0) show(number);
  });
  map.addEventListener("pointerleave", () => map.classList.remove("pointed"));
  map.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    show((shown + step + dots.length) % dots.length);
  });
  for (const button of map.closest("figure").querySelectorAll("button")) {
    button.addEventListener("click", () => {
      map.dataset.by = button.dataset.by;
      for (const other of button.parentElement.querySelectorAll("button")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      if (shown >= 0) show(shown);
      map.classList.remove("pointed");
    });
  }
}
