// Adds pictures to the gallery, with what a person says of them.

import { lines, toSeconds } from "/filters.js";
import { ask, Refused } from "/server.js";

const dialog = document.querySelector("#adding");
const form = dialog.querySelector("form");
const trouble = dialog.querySelector(".trouble");
const button = dialog.querySelector("[type=submit]");

/** Asks who is in the pictures, all of one individual, and adds them. → how many were new, null when not wanted. */
export function addPictures(files, box) {
  const which = files.length === 1 ? files[0].name : `${files.length} pictures of one individual`;
  dialog.querySelector("#adding-what").textContent = box ? `${which}, what is in the box` : which;
  trouble.textContent = "";
  let n = null;
  form.onsubmit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      n = 0;
      for (const file of files) n += Number((await ask("/add", { method: "POST", body: addition(file, box) })).added);
      form.reset();
      dialog.close();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      trouble.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  };
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(n), { once: true }));
}

function addition(file, box) {
  const { identity, camera, time, field } = form.elements;
  const body = new FormData();
  body.append("picture", file, file.name);
  const known = { identity: identity.value.trim(), camera: camera.value.trim(), time: toSeconds(time.value) };
  for (const [name, value] of Object.entries(known)) if (value !== "") body.append(name, value);
  for (const line of lines(field.value)) body.append("field", line);
  if (box) body.append("box", box);
  return body;
}

dialog.querySelector("#adding-cancel").addEventListener("click", () => dialog.close());
