// A box on a picture: drawn, moved by its inside, resized by its corners; in pixels of the upright picture.

const NEAR = 12; // pixels on the screen: this close to a corner, the corner is meant
const LEAST = 4; // pixels on the screen: anything smaller is a click, and no box

/** Lets a person draw on the image in the stage: moving(box) meanwhile, done(box) in the end. → puts a box or none. */
export function drawOn(stage, image, overlay, { moving, done }) {
  let current = null;
  let start = null;

  /** The pointer in pixels of the picture, inside it. */
  const point = (event) => {
    const { left, top, width, height } = image.getBoundingClientRect();
    const within = (value, size) => Math.min(Math.max(value, 0), size);
    return [
      within(((event.clientX - left) / width) * image.naturalWidth, image.naturalWidth),
      within(((event.clientY - top) / height) * image.naturalHeight, image.naturalHeight),
    ];
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !image.naturalWidth) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    const scale = image.naturalWidth / image.getBoundingClientRect().width;
    start = { ...beginning(current, point(event), NEAR * scale), scale, before: current };
  });
  stage.addEventListener("pointermove", (event) => {
    if (start === null) return;
    put(start.box(point(event), [image.naturalWidth, image.naturalHeight]));
    moving(current);
  });
  stage.addEventListener("pointerup", () => {
    if (start === null) return;
    const { before, scale } = start;
    start = null;
    if (current && Math.min(current[2] - current[0], current[3] - current[1]) < LEAST * scale) put(before);
    moving(current);
    if (String(current) !== String(before)) done(current);
  });
  stage.addEventListener("pointercancel", () => {
    if (start === null) return;
    put(start.before);
    start = null;
    moving(current);
  });

  const put = (box) => {
    current = box && box.map(Math.round);
    overlay.hidden = current === null;
    if (current === null) return;
    const [left, top, right, bottom] = current;
    const percent = (value, size) => `${(100 * value) / size}%`;
    overlay.style.left = percent(left, image.naturalWidth);
    overlay.style.top = percent(top, image.naturalHeight);
    overlay.style.width = percent(right - left, image.naturalWidth);
    overlay.style.height = percent(bottom - top, image.naturalHeight);
  };
  return put;
}

/** What a press at a point begins: where the box then is, given the pointer and the picture's size. */
function beginning(current, [x, y], near) {
  if (current) {
    const [left, top, right, bottom] = current;
    const corner = [
      [left, top],
      [right, top],
      [left, bottom],
      [right, bottom],
    ].find(([cornerX, cornerY]) => Math.hypot(cornerX - x, cornerY - y) <= near);
    if (corner) return { box: between(left + right - corner[0], top + bottom - corner[1]) };
    if (left < x && x < right && top < y && y < bottom) return { box: shifted(current, x, y) };
  }
  return { box: between(x, y) };
}

const between = (x, y) => (pointer) => [
  Math.min(x, pointer[0]),
  Math.min(y, pointer[1]),
  Math.max(x, pointer[0]),
  Math.max(y, pointer[1]),
];

const shifted = ([left, top, right, bottom], x, y) => (pointer, [width, height]) => {
  const dx = Math.min(Math.max(pointer[0] - x, -left), width - right);
  const dy = Math.min(Math.max(pointer[1] - y, -top), height - bottom);
  return [left + dx, top + dy, right + dx, bottom + dy];
};
