// The report of one lesion, from what the browser keeps of it.

const OPACITY = 0.6; // of the strongest evidence

function dataUrl(blob) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.readAsDataURL(blob);
  });
}

/** Lay the evidence for one diagnosis over the picture. */
async function overlay(record, at, palette) {
  const picture = await createImageBitmap(jpeg(record));
  const heat = document.createElement("canvas");
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  paint(heat, record, at, palette);
  canvas.width = picture.width;
  canvas.height = picture.height;
  context.drawImage(picture, 0, 0);
  context.globalAlpha = OPACITY;
  context.drawImage(heat, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}

function figure(address, caption, outlines) {
  const figure = document.createElement("figure");
  figure.innerHTML = `<div class="sc-sheet"><img><svg viewBox="0 0 1 1" aria-hidden="true"></svg></div><figcaption></figcaption>`;
  Object.assign(figure.querySelector("img"), { alt: caption, src: address });
  figure.querySelector("svg").append(...outlines.map(polygon));
  figure.querySelector("figcaption").textContent = caption;
  return figure.outerHTML;
}

async function figures(record, palette) {
  const outlines = record.get("outlines");
  const drawn = [figure(await dataUrl(jpeg(record)), "The square that was read", outlines)];
  for (const at of record.get("named")) {
    const caption = `What speaks for ${record.get("names")[at]}`;
    drawn.push(figure(await overlay(record, at, palette), caption, outlines));
  }
  return drawn.join("");
}

function dateAndTime(now) {
  const day = now.toLocaleDateString("en-GB", { day: "2-digit", month: "long", year: "numeric" });
  const time = now.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
  return `${day}, ${time}`;
}

/** Save a lesion's report: an HTML page that needs no other file and asks no host. */
async function saveReport(record, template, palette) {
  const now = new Date();
  const parts = { time: dateAndTime(now), figures: await figures(record, palette) };
  for (const name of ["answer", "measures", "cases"]) parts[name] = record.get(name);
  const text = template.replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name]);
  const stamp = now.toLocaleString("sv").replaceAll(":", ".");
  download(`skin lesion report ${stamp}.html`, "text/html", text);
}
