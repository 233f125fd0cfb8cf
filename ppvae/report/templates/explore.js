"use strict";
(() => {
  const SIZE = 360, EDGE = 30;
  // The colours of the figures; from the eleventh class on, rings in the same colours.
  const COLOURS = ["#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#94a4a2", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"];

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function drawn(tag, attributes, parent) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (parent) parent.append(element);
    return element;
  }

  // A tile that shows one picture of a sheet at a time.
  function tile(sheet) {
    const element = make("div", { class: "tile", role: "img" });
    element.style.aspectRatio = sheet.ratio;
    element.style.backgroundImage = `url(data:image/png;base64,${sheet.png})`;
    element.style.backgroundSize = `${100 * sheet.columns}% ${100 * sheet.lines}%`;
    return {
      element,
      show(number, label) {
        const share = (place, count) => (count > 1 ? (100 * place) / (count - 1) : 0);
        const column = number % sheet.columns, line = Math.floor(number / sheet.columns);
        element.style.backgroundPosition = `${share(column, sheet.columns)}% ${share(line, sheet.lines)}%`;
        element.setAttribute("aria-label", label);
      },
    };
  }

  function slider(text, count, start, changed) {
    const input = make("input", { type: "range", min: 0, max: count - 1, step: 1 });
    input.value = start;
    input.addEventListener("input", () => changed(Number(input.value)));
    return { input, label: make("label", {}, make("span", {}, text), input) };
  }

  function mark(number) {
    const colour = COLOURS[number % COLOURS.length];
    const hollow = Math.floor(number / COLOURS.length) % 2;
    return hollow ? { fill: "none", stroke: colour, "stroke-width": 2 } : { fill: colour };
  }

  const words = (value) => value.toFixed(2).replace("-", "\u2212");

  // Held-out data in the plane of two dimensions; the chosen one with its picture.
  function scatter(latent) {
    const { points, dims, classes } = latent;
    const range = [0, 1].map((axis) => {
      const values = points.map((point) => point[axis]);
      const low = Math.min(...values), high = Math.max(...values);
      return [low, high > low ? high - low : 1];
    });
    const place = (value, axis) => {
      const share = (value - range[axis][0]) / range[axis][1];
      return EDGE + (SIZE - 2 * EDGE) * (axis ? 1 - share : share);
    };
    const svg = drawn("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, class: "points", "aria-hidden": "true" });
    points.forEach((point, number) => drawn("circle", {
      cx: place(point[0], 0), cy: place(point[1], 1), r: 4, ...mark(classes ? classes[number] : 0),
    }, svg));
    const ring = drawn("circle", { r: 8, class: "ring" }, svg);
    const text = (content, attributes) => { drawn("text", attributes, svg).textContent = content; };
    text(`${latent.site}, dimension ${dims[0] + 1}`, { x: SIZE / 2, y: SIZE - 8, "text-anchor": "middle" });
    text(`dimension ${dims[1] + 1}`, { x: 14, y: SIZE / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${SIZE / 2})` });

    const nameOf = (number) => `${(latent.class_names || [])[number] ?? number}`;
    const legend = make("ul", { class: "legend", "aria-label": "Classes" });
    for (const number of [...new Set(classes || [])].sort((a, b) => a - b)) {
      const sign = drawn("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" });
      drawn("circle", { cx: 6, cy: 6, r: 4, ...mark(number) }, sign);
      legend.append(make("li", {}, sign, nameOf(number)));
    }

    const picture = latent.data && tile(latent.data);
    const said = make("output", { "aria-live": "polite" });
    const control = slider("Datum", points.length, 0, choose);
    function choose(number) {
      const point = points[number];
      ring.setAttribute("cx", place(point[0], 0));
      ring.setAttribute("cy", place(point[1], 1));
      control.input.value = number;
      const label = classes === null ? "" : `, class ${nameOf(classes[number])}`;
      said.textContent = `Row ${latent.rows[number]}${label}: ${words(point[0])}, ${words(point[1])}`;
      control.input.setAttribute("aria-valuetext", said.textContent);
      if (picture) picture.show(number, said.textContent);
    }
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = (SIZE * (event.clientX - box.left)) / box.width, y = (SIZE * (event.clientY - box.top)) / box.height;
      const far = points.map((point) => Math.hypot(place(point[0], 0) - x, place(point[1], 1) - y));
      choose(far.indexOf(Math.min(...far)));
    });
    choose(0);
    const side = make("div", { class: "side" }, ...(picture ? [picture.element] : []), said, control.label);
    if (legend.childElementCount) side.append(legend);
    return make("div", { class: "pair" }, svg, side);
  }

  // The decoded mean at a place of the plane.
  function plane(latent) {
    const { values } = latent.plane, picture = tile(latent.plane), said = make("output", { "aria-live": "polite" });
    const middle = Math.floor(values.length / 2), at = [middle, middle];
    const controls = [0, 1].map((axis) => slider(`Dimension ${latent.dims[axis] + 1}`, values.length, middle, (number) => { at[axis] = number; show(); }));
    function show() {
      said.textContent = `Decoded at ${words(values[at[0]])}, ${words(values[at[1]])}`;
      controls.forEach((control, axis) => control.input.setAttribute("aria-valuetext", words(values[at[axis]])));
      picture.show(at[1] * values.length + at[0], said.textContent);
    }
    show();
    return make("div", { class: "side" }, picture.element, said, ...controls.map((control) => control.label));
  }

  // The decoded mean along one dimension, the others at 0.
  function line(latent) {
    const { values, dims } = latent.line, picture = tile(latent.line), said = make("output", { "aria-live": "polite" });
    const choice = make("select", {}, ...dims.map((dim, number) => make("option", { value: number }, `${dim + 1}`)));
    const middle = Math.floor(values.length / 2);
    const control = slider("Value", values.length, middle, show);
    function show() {
      const number = Number(control.input.value);
      said.textContent = `Dimension ${dims[choice.value] + 1} at ${words(values[number])}, others at 0`;
      control.input.setAttribute("aria-valuetext", words(values[number]));
      picture.show(choice.value * values.length + number, said.textContent);
    }
    choice.addEventListener("change", show);
    show();
    return make("div", { class: "side" }, picture.element, said, make("label", {}, make("span", {}, "Dimension"), choice), control.label);
  }

  const root = document.getElementById("explore");
  for (const latent of JSON.parse(document.getElementById("explore-data").textContent).latents) {
    const parts = [];
    if (latent.plane) parts.push(make("div", {}, make("h4", {}, "The plane of these dimensions"), plane(latent)));
    if (latent.line) parts.push(make("div", {}, make("h4", {}, "One dimension at a time"), line(latent)));
    root.append(
      make("h3", {}, `Latent ${latent.site}`),
      make("h4", {}, "Data: move over the points, or use the slider"), scatter(latent),
      make("div", { class: "pair" }, ...parts),
    );
  }
  root.parentElement.hidden = false;
})();
