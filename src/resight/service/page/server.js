// Asks the service. The token is kept in sessionStorage: it goes when the tab is closed, and is never in an address.

const TOKEN = "resight-token";
const TRIES = 5; // of a request that a busy server refuses

/** What the service, or the way to it, refuses: one line for the person. later: whether trying again may help. */
export class Refused extends Error {
  constructor(line, { later = true } = {}) {
    super(line);
    this.later = later;
  }
}

export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;

export function forgetToken() {
  sessionStorage.removeItem(TOKEN);
}

/** The answer's JSON. waiting(line) is called when the server is busy and the request waits. Throws Refused. */
export async function ask(path, { waiting = () => {}, ...options } = {}) {
  for (let attempt = 1; ; attempt++) {
    const response = await authorised(path, options);
    if (response.ok) return response.json();
    const { detail } = await response.json().catch(() => ({}));
    if (response.status !== 503 || attempt === TRIES) {
      throw new Refused(String(detail ?? `Error ${response.status}.`), { later: response.status >= 500 });
    }
    const seconds = Math.min(Number(response.headers.get("Retry-After")) || 1, 30);
    waiting(`The server is busy. Trying again in ${seconds} s.`);
    await pause(1000 * seconds, options.signal);
  }
}

/** Shows the picture at a path in an image element. A token cannot go with src, so it is fetched then. */
export async function show(image, path) {
  if (!hasToken()) {
    image.src = path;
    return;
  }
  const response = await authorised(path);
  if (!response.ok) {
    image.dispatchEvent(new Event("error"));
    return;
  }
  const address = URL.createObjectURL(await response.blob());
  image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
  image.src = address;
}

async function authorised(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = { ...options.headers, ...(token === null ? {} : { Authorization: `Bearer ${token}` }) };
    const response = await reach(path, { ...options, headers });
    if (response.status !== 401) return response;
    await newToken(token);
  }
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Is it running, and the network up?");
  }
}

let asking = null; // several requests are refused at once; the person is asked once

/** Another token than the one that was refused. Throws Refused when the person gives none. */
async function newToken(refused) {
  if (sessionStorage.getItem(TOKEN) !== refused) return;
  asking ??= askPerson(refused !== null).finally(() => (asking = null));
  if (!(await asking)) throw new Refused("This gallery asks for a token, and none was given.");
}

function askPerson(again) {
  const dialog = document.querySelector("#token");
  const field = dialog.querySelector("input");
  field.value = "";
  dialog.querySelector(".trouble").textContent = again ? "The server refused this token." : "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        if (dialog.returnValue) sessionStorage.setItem(TOKEN, field.value.trim());
        field.value = "";
        resolve(dialog.returnValue !== "");
      },
      { once: true },
    );
  });
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
