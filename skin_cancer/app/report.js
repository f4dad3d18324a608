// The report of one lesion or all, from what the browser keeps of them.

const OPACITY = 0.6; // of the strongest evidence
const SCALE = `<div class="sc-scale"><span>weak</span><div></div><span>strongest evidence</span></div>`;

function dataUrl(blob) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.readAsDataURL(blob);
  });
}

/** Lay the evidence for one diagnosis over the image. */
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
  const drawn = [figure(await dataUrl(jpeg(record)), "Analysed square", outlines)];
  for (const at of record.get("named")) {
    const caption = `Evidence for ${record.get("names")[at]}`;
    drawn.push(figure(await overlay(record, at, palette), caption, outlines));
  }
  return drawn.join("");
}

function dateAndTime(now) {
  const day = now.toLocaleDateString("en-GB", { day: "2-digit", month: "long", year: "numeric" });
  const time = now.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
  return `${day}, ${time}`;
}

function escaped(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return element.innerHTML;
}

function told(words, text) {
  return text ? `<p>${words}: <strong>${escaped(text)}</strong></p>` : "";
}

async function lesion(record, site, palette) {
  const unfolded = record.get("answer").replace("<details", "<details open");
  const scale = record.get("named").length ? SCALE : "";
  const parts = [`<div class="sc-pair">${await figures(record, palette)}</div>`, scale, unfolded];
  return `<article class="sc-lesion">${told("Site", site)}${parts.join("")}
    ${record.get("measures")}${record.get("cases")}</article>`;
}

/**
 * Save a report: an HTML page that needs no other file and asks no host.
 *
 * Of each lesion `record` and `site` are given, the latter as the visitor typed it.
 */
async function saveReport(lesions, patient, template, palette) {
  const now = new Date();
  const written = [];
  for (const { record, site } of lesions) written.push(await lesion(record, site, palette));
  const parts = {
    time: dateAndTime(now),
    patient: told("Patient reference", patient),
    lesions: written.join(""),
  };
  const text = template.replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name]);
  const stamp = now.toLocaleString("sv").replaceAll(":", ".");
  download(`skin lesion report ${stamp}.html`, "text/html", text);
}
