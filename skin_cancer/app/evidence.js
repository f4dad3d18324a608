// An image beside its heatmap: which diagnosis, how strong, how large is decided here alone.

const SHEET = `<div class="sc-view" tabindex="0" role="group">
  <div class="sc-sheet"><img alt=""><canvas></canvas><svg viewBox="0 0 1 1" aria-hidden="true"></svg></div>
</div>`;

const EVIDENCE = `
<h3>Evidence in the image</h3>
<div class="sc-pair">
  <figure data-plain>${SHEET}<figcaption>Analysed square</figcaption></figure>
  <figure data-heat>${SHEET}<figcaption></figcaption></figure>
</div>
<div class="sc-scale"><span>weak</span><div></div><span>strongest in this image</span></div>
<div class="sc-controls">
  <label><span>Evidence for</span><select></select></label>
  <label><span>Heatmap</span><input type="range" data-opacity aria-label="Heatmap" min="0" max="100" step="5" value="60"><output></output></label>
  <label><span>Zoom</span><input type="range" data-zoom aria-label="Zoom" min="1" max="5" step="0.25" value="1"><output></output></label>
  <label class="sc-check"><input type="checkbox" data-outline checked> Outline of the lesion</label>
</div>`;

function bytes(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function jpeg(record) {
  return new Blob([record.get("picture")], { type: "image/jpeg" });
}

/** The evidence for one of a lesion's diagnoses, by its place among them. */
function heatmap(record, at) {
  const size = record.get("side") ** 2;
  return bytes(record.get("heat")).subarray(at * size, (at + 1) * size);
}

/** Colour a lesion's heatmap: the weaker the evidence, the more transparent. */
function paint(canvas, record, at, palette) {
  const side = record.get("side");
  canvas.width = canvas.height = side;
  const pixels = new ImageData(side, side);
  heatmap(record, at).forEach((value, i) => {
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

/** Fill an element with the evidence; return how to show a lesion's, and how to label it anew. */
function evidence(el, palette) {
  el.classList.add("sc-evidence");
  el.innerHTML = EVIDENCE;
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
  let record = null;
  let address = "";
  let chosen = false; // by the visitor
  find("[data-plain] canvas").remove();
  for (const image of all("img")) image.draggable = false;
  canvas.setAttribute("role", "img");
  find("[data-plain] .sc-view").setAttribute("aria-label", "Image; arrow keys move it when zoomed");
  find("[data-heat] .sc-view").setAttribute("aria-label", "Heatmap; arrow keys move it when zoomed");
  find("[data-plain] img").alt = "The square of your image that was analysed";
  pan(views);

  const choose = () => {
    const at = choice.selectedIndex;
    const name = record.get("names")[at];
    paint(canvas, record, at, palette);
    caption.textContent = `${heatmap(record, at).some(Boolean) ? "Evidence" : "No evidence"} for ${name}`;
    canvas.setAttribute("aria-label", `The same square, coloured where there is evidence for ${name}`);
  };
  const fade = () => {
    canvas.style.opacity = opacity.value / 100;
    opacity.nextElementSibling.value = `${opacity.value}%`;
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
    zoom.nextElementSibling.value = `${Number(zoom.value)}×`;
  };
  const draw = () => {
    for (const svg of all("svg")) svg.toggleAttribute("hidden", !outline.checked);
  };
  const label = () => {
    const words = record.get("probabilities");
    record.get("names").forEach((name, i) => (choice.options[i].label = `${name}, ${words[i]}`));
    if (chosen) return;
    el.classList.toggle("sc-alone", !record.get("named").length);
    choice.selectedIndex = record.get("evident");
    choose();
  };
  const empty = () => {
    for (const image of all("img")) image.removeAttribute("src");
    canvas.width = canvas.height = 0;
  };
  const show = (next) => {
    record = next;
    URL.revokeObjectURL(address);
    if (!record) return empty();
    address = URL.createObjectURL(jpeg(record));
    for (const image of all("img")) image.src = address;
    for (const svg of all("svg")) svg.replaceChildren(...record.get("outlines").map(polygon));
    choice.replaceChildren(...record.get("names").map((name) => new Option(name)));
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
  return { show, label };
}
