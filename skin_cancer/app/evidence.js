// A picture beside its heatmap: which diagnosis, how strong, how large is decided here alone.

const SHEET = `<div class="sc-view" tabindex="0" role="group">
  <div class="sc-sheet"><img alt=""><canvas></canvas><svg viewBox="0 0 1 1" aria-hidden="true"></svg></div>
</div>`;

const MARKUP = `
<h3>What in the picture says so</h3>
<div class="sc-pair">
  <figure data-plain>${SHEET}<figcaption>The square that was read</figcaption></figure>
  <figure data-heat>${SHEET}<figcaption></figcaption></figure>
</div>
<div class="sc-scale"><span>weak</span><div></div><span>strongest in this picture</span></div>
<div class="sc-controls">
  <label><span>Evidence for</span><select></select></label>
  <label><span>Heatmap</span><input type="range" data-opacity aria-label="Heatmap" min="0" max="100" step="5" value="60"><output></output></label>
  <label><span>Zoom</span><input type="range" data-zoom aria-label="Zoom" min="1" max="5" step="0.25" value="1"><output></output></label>
  <label class="sc-check"><input type="checkbox" data-outline checked> Outline of the lesion</label>
</div>`;

/** Colour a map of evidence: the weaker, the more transparent. */
function paint(canvas, heat, side, palette) {
  canvas.width = canvas.height = side;
  const pixels = new ImageData(side, side);
  heat.forEach((value, i) => {
    pixels.data.set([0, 1, 2].map((channel) => palette[3 * value + channel]), 4 * i);
    pixels.data[4 * i + 3] = value;
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

function polygon(points) {
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
  line.setAttribute("points", points.map((point) => point.join()).join(" "));
  return line;
}

/** Let views be dragged, and keep all of them at the same place. */
function pan(views) {
  for (const view of views) {
    view.addEventListener("scroll", () => {
      for (const other of views) other.scrollTo(view.scrollLeft, view.scrollTop);
    });
    view.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "mouse" || event.buttons !== 1) return;
      view.scrollBy(-event.movementX, -event.movementY);
    });
  }
}

function bytes(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function render({ model, el }) {
  el.classList.add("sc-evidence");
  el.innerHTML = MARKUP;
  const find = (selector) => el.querySelector(selector);
  const all = (selector) => [...el.querySelectorAll(selector)];
  const [choice, opacity, zoom, outline, canvas, caption] = [
    "select",
    "[data-opacity]",
    "[data-zoom]",
    "[data-outline]",
    "[data-heat] canvas",
    "[data-heat] figcaption",
  ].map(find);
  const views = all(".sc-view");
  const palette = bytes(model.get("palette"));
  let address = "";
  let chosen = false; // by the visitor
  find("[data-plain] canvas").remove();
  for (const image of all("img")) image.draggable = false;
  canvas.setAttribute("role", "img");
  find("[data-plain] .sc-view").setAttribute("aria-label", "Picture; arrow keys move it when zoomed");
  find("[data-heat] .sc-view").setAttribute("aria-label", "Heatmap; arrow keys move it when zoomed");
  find("[data-plain] img").alt = "The square of your picture that was read";
  pan(views);

  const choose = () => {
    const { heat, side, names } = model.get("shown");
    const at = choice.selectedIndex;
    const map = bytes(heat).subarray(at * side * side, (at + 1) * side * side);
    paint(canvas, map, side, palette);
    caption.textContent = `${map.some(Boolean) ? "What" : "Nothing"} speaks for ${names[at]}`;
    canvas.setAttribute("aria-label", `The same square, coloured where it speaks for ${names[at]}`);
  };
  const fade = () => {
    canvas.style.opacity = opacity.value / 100;
    opacity.nextElementSibling.value = `${opacity.value} %`;
  };
  const enlarge = () => {
    const before = Number(el.style.getPropertyValue("--sc-zoom")) || 1;
    const growth = zoom.value / before;
    const centres = views.map((view) => [
      (view.scrollLeft + view.clientWidth / 2) * growth - view.clientWidth / 2,
      (view.scrollTop + view.clientHeight / 2) * growth - view.clientHeight / 2,
    ]);
    el.style.setProperty("--sc-zoom", zoom.value);
    views.forEach((view, i) => view.scrollTo(...centres[i]));
    zoom.nextElementSibling.value = `${Number(zoom.value)} x`;
  };
  const draw = () => {
    for (const svg of all("svg")) svg.toggleAttribute("hidden", !outline.checked);
  };
  const label = () => {
    const { names = [] } = model.get("shown");
    const words = model.get("probabilities");
    for (const [i, option] of [...choice.options].entries()) option.label = `${names[i]}, ${words[i]}`;
    if (chosen || !names.length) return;
    choice.selectedIndex = model.get("first");
    choose();
  };
  const empty = () => {
    for (const image of all("img")) image.removeAttribute("src");
    canvas.width = canvas.height = 0;
  };
  const show = () => {
    const shown = model.get("shown");
    URL.revokeObjectURL(address);
    if (!shown.names) return empty();
    address = URL.createObjectURL(new Blob([shown.picture], { type: "image/jpeg" }));
    for (const image of all("img")) image.src = address;
    for (const svg of all("svg")) svg.replaceChildren(...shown.outlines.map(polygon));
    choice.replaceChildren(...shown.names.map((name) => new Option(name)));
    chosen = false;
    zoom.value = 1;
    for (const update of [label, fade, enlarge, draw]) update();
  };

  choice.addEventListener("change", () => {
    chosen = true;
    choose();
  });
  opacity.addEventListener("input", fade);
  zoom.addEventListener("input", enlarge);
  outline.addEventListener("change", draw);
  model.on("change:shown", show);
  model.on("change:probabilities change:first", label);
  show();
  return () => {
    model.off("change:shown", show);
    model.off("change:probabilities change:first", label);
    URL.revokeObjectURL(address);
  };
}

export default { render };
