// The table of all lesions; its order and words are the kernel's.

const MARKUP = `<div class="sc-scroll" tabindex="0" role="region" aria-label="Your lesions">
<table class="sc-overview">
  <caption></caption>
  <thead><tr><th scope="col"><span class="sc-heard">Image</span></th><th scope="col">File and most likely diagnosis</th>
  <th scope="col">Verdict</th><th scope="col"><span class="sc-heard">Remove</span></th></tr></thead>
  <tbody></tbody>
</table></div>`;

function element(tag, className, text) {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}

function button(className, text, label, pressed) {
  const made = element("button", className, text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", (event) => {
    event.stopPropagation();
    pressed();
  });
  return made;
}

/** Let a file's name break where its words end. */
function breakable(name) {
  return name.split(/(?<=[_.\s-])/).flatMap((word) => [word, document.createElement("wbr")]);
}

function cell(tag, ...content) {
  const made = document.createElement(tag);
  if (tag === "th") made.scope = "row";
  made.append(...content.filter((part) => part.textContent !== "" || part.tagName === "IMG"));
  return made;
}

function line(row, opened, open, remove) {
  const line = document.createElement("tr");
  line.classList.toggle("sc-opened", row.number === opened);
  line.dataset.number = row.number;
  const image = document.createElement("img");
  image.alt = "";
  image.src = URL.createObjectURL(new Blob([row.thumbnail], { type: "image/jpeg" }));
  image.onload = () => URL.revokeObjectURL(image.src);
  const name = button("sc-link", "", `Open ${row.name}`, () => open(row.number));
  name.append(...breakable(row.name));
  if (row.number === opened) name.setAttribute("aria-current", "true");
  line.addEventListener("click", () => open(row.number));
  const doubt = element("span", "sc-kind sc-doubt", row.doubt && `⚠ ${row.doubt}`);
  line.append(
    cell("td", image),
    cell("th", name, element("span", "sc-kind", row.diagnosis)),
    cell("td", element("strong", "", row.malignancy), element("span", "sc-kind", row.verdict), doubt),
    cell("td", button("sc-remove", "×", `Remove ${row.name}`, () => remove(row.number))),
  );
  return line;
}

async function render({ model, el }) {
  el.innerHTML = MARKUP;
  const body = el.querySelector("tbody");
  const result = await model.widget_manager.get_model(model.get("result").replace("IPY_MODEL_", ""));
  const open = (number) => {
    result.set("opened", number);
    result.save_changes();
    const shown = el.closest(".sc-page")?.querySelector(".sc-result");
    if (shown?.getBoundingClientRect().top > 0.7 * innerHeight) shown.scrollIntoView();
  };
  const remove = (number) => model.send({ remove: number });
  const show = () => {
    const line_ = document.activeElement.closest?.("tr");
    const place = body.contains(line_) ? [...body.children].indexOf(line_) : -1;
    const number = line_?.dataset.number;
    const selector = document.activeElement.className === "sc-remove" ? ".sc-remove" : ".sc-link";
    const opened = result.get("opened");
    el.querySelector("caption").textContent = model.get("summary");
    body.replaceChildren(...model.get("rows").map((row) => line(row, opened, open, remove)));
    if (place < 0) return;
    const next = body.querySelector(`[data-number="${number}"]`) ?? body.children[place] ?? body.lastElementChild;
    next?.querySelector(selector).focus();
  };
  model.on("change:rows change:summary", show);
  result.on("change:opened", show);
  show();
  return () => result.off("change:opened", show);
}

export default { render };
