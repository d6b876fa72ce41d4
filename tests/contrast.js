/* The contrast of a colour with what is drawn behind an element: WCAG 2.2, "contrast ratio", 1 to 21. */
const pen = Object.assign(document.createElement("canvas"), {width: 1, height: 1})
    .getContext("2d", {willReadFrequently: true});
const over = (colours) => {                       // the last is the lowest
    pen.clearRect(0, 0, 1, 1);
    for (const colour of [...colours].reverse()) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
    return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const luminance = (rgb) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (colour, one) => {
    const under = [];
    for (let place = one; place; place = place.parentElement) under.push(getComputedStyle(place).backgroundColor);
    const [a, b] = [over([colour, ...under, "Canvas"]), over([...under, "Canvas"])].map(luminance);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
};
