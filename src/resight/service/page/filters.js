// The form ↔ the parameters of a search, as they stand in the page's address and go to POST /search.

const form = document.querySelector("#query");
const controls = form.elements;
const FIELD = "field:"; // names of the controls of further fields begin with it
const ENOUGH = 50; // values of a field that the service lists; there may be more then, which are typed

/** What the form asks for, besides pictures. */
export function readForm() {
  const params = new URLSearchParams();
  const put = (name, value) => value !== "" && params.append(name, value);
  for (const name of ["text", "without"]) lines(controls[name].value).forEach((line) => put(name, line));
  for (const chip of cameraChips()) if (chip.checked) params.append("camera", chip.value);
  put("camera", controls.other_camera.value.trim());
  put("identity", controls.identity.value.trim());
  if (controls.unknown.checked) params.append("identity", "");
  for (const name of ["since", "until"]) put(name, toSeconds(controls[name].value));
  for (const control of fieldControls()) {
    if (control.value) params.append("field", `${control.name.slice(FIELD.length)}=${control.value}`);
  }
  put("threshold", controls.threshold.value);
  if (controls.one_each.checked) params.append("one_each", "true");
  if (controls.top.value !== controls.top.defaultValue) put("top", controls.top.value);
  if (controls.text_weight.value !== controls.text_weight.defaultValue) put("text_weight", controls.text_weight.value);
  return params;
}

/** Makes the form ask for this. */
export function fillForm(params) {
  for (const name of ["text", "without"]) controls[name].value = params.getAll(name).join("\n");
  const cameras = new Set(params.getAll("camera"));
  for (const chip of cameraChips()) chip.checked = cameras.delete(chip.value);
  controls.other_camera.value = [...cameras][0] ?? "";
  if (cameras.size) document.querySelector("#other-camera").hidden = false;
  controls.identity.value = params.getAll("identity").find((identity) => identity !== "") ?? "";
  controls.unknown.checked = params.getAll("identity").includes("");
  for (const name of ["since", "until"]) controls[name].value = fromSeconds(params.get(name));
  const fields = new Map(params.getAll("field").map((pair) => pair.split(/=(.*)/s, 2)));
  for (const name of fields.keys()) if (!controls[FIELD + name]) addField(name, []);
  for (const control of fieldControls()) setValue(control, fields.get(control.name.slice(FIELD.length)) ?? "");
  controls.threshold.value = params.get("threshold") ?? "";
  controls.one_each.checked = params.get("one_each") === "true";
  controls.top.value = params.get("top") ?? controls.top.defaultValue;
  controls.text_weight.value = params.get("text_weight") ?? controls.text_weight.defaultValue;
}

/** The parameters that are filters, of which the form tells how many there are. */
export const FILTERS = ["camera", "identity", "since", "until", "field", "threshold"];

/** Offers what the gallery has: its cameras, its fields, and its thresholds. */
export function offerFilters(info) {
  const cameras = info.cameras.length ? [...info.cameras, ""] : [];
  document.querySelector("#cameras").hidden = cameras.length === 0;
  document.querySelector("#cameras .chips").replaceChildren(...cameras.map(cameraChip));
  document.querySelector("#other-camera").hidden = info.n_cameras <= info.cameras.length;
  document.querySelector("#camera-names").replaceChildren(...info.cameras.map((name) => new Option("", name)));
  document.querySelector("#fields").replaceChildren();
  for (const [name, values] of Object.entries(info.fields)) addField(name, values);
  document.querySelector("#thresholds").replaceChildren(...info.thresholds.map(thresholdButton));
}

function cameraChip(name) {
  const chip = document.createElement("label");
  const shown = { textContent: name || "unknown", className: name ? "" : "nobody" };
  chip.append(
    Object.assign(document.createElement("input"), { type: "checkbox", name: "camera", value: name }),
    Object.assign(document.createElement("span"), shown),
  );
  return chip;
}

function thresholdButton({ rate, similarity }) {
  const button = document.createElement("button");
  const value = similarity.toFixed(3);
  Object.assign(button, { type: "button", textContent: `${value} · ${Number((100 * rate).toPrecision(2))} % false` });
  button.title = "Share of pairs of different individuals that are as similar as this, by picture";
  button.addEventListener("click", () => {
    controls.threshold.value = value;
    controls.threshold.dispatchEvent(new Event("change", { bubbles: true }));
  });
  return button;
}

function addField(name, values) {
  const label = Object.assign(document.createElement("label"), { className: "field" });
  const known = 0 < values.length && values.length < ENOUGH;
  const control = Object.assign(document.createElement(known ? "select" : "input"), { name: FIELD + name });
  label.append(`${name} `, control);
  if (known) {
    control.append(new Option("any", ""), ...values.map((value) => new Option(value, value)));
  } else {
    const list = document.createElement("datalist");
    list.id = `values-${document.querySelectorAll("datalist").length}`;
    list.append(...values.map((value) => new Option("", value)));
    control.placeholder = "any";
    control.setAttribute("list", list.id);
    label.append(list);
  }
  document.querySelector("#fields").append(label);
}

function setValue(control, value) {
  const options = [...(control.options ?? [])].map((option) => option.value);
  if (control.options && !options.includes(value)) control.add(new Option(value, value));
  control.value = value;
}

const cameraChips = () => [...form.querySelectorAll("#cameras input")];
const fieldControls = () => [...controls].filter((control) => control.name.startsWith(FIELD));
export const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

/** UTC seconds of a local time as a datetime-local field holds it; "" when it is empty. */
export const toSeconds = (local) => (local === "" ? "" : String(new Date(local).getTime() / 1000));

function fromSeconds(seconds) {
  const date = new Date(1000 * Number(seconds));
  if (seconds === null || Number.isNaN(date.getTime())) return "";
  const local = new Date(date.getTime() - 60_000 * date.getTimezoneOffset());
  return local.toISOString().slice(0, 19);
}
