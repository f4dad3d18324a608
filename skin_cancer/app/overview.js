// The table of all lesions; its order and words are the kernel's.

const MARKUP = `<div class="sc-scroll" tabindex="0" role="region" aria-label="Your lesions">
<table class="sc-overview">
  <caption>Your lesions, the most malignant first</caption>
  <thead><tr><th scope="col">Picture</th><th scope="col">File</th><th scope="col">Malignancy</th>
  <th scope="col">Most likely, and doubts</th></tr></thead>
  <tbody></tbody>
</table></div>`;

function words(first, second) {
  const small = document.createElement("span");
  small.className = "sc-kind";
  small.textContent = second;
  return second ? [first, small] : [first];
}

function line(row, opened, open) {
  const line = document.createElement("tr");
  line.classList.toggle("sc-opened", row.number === opened);
  const image = document.createElement("img");
  image.alt = "";
  image.src = URL.createObjectURL(new Blob([row.thumbnail], { type: "image/jpeg" }));
  image.onload = () => URL.revokeObjectURL(image.src);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sc-link";
  button.textContent = row.name;
  button.dataset.number = row.number;
  button.setAttribute("aria-label", `Open ${row.name}`);
  if (row.number === opened) button.setAttribute("aria-current", "true");
  line.addEventListener("click", () => open(row.number));
  const cells = [[image], [button], words(row.malignancy, row.verdict), words(row.diagnosis, row.doubt)];
  for (const [i, content] of cells.entries()) {
    const cell = document.createElement(i === 1 ? "th" : "td");
    if (i === 1) cell.scope = "row";
    cell.append(...content);
    line.append(cell);
  }
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
    if (shown?.getBoundingClientRect().top > 0.7 * innerHeight) shown.scrollIntoView({ behavior: "smooth" });
  };
  const show = () => {
    const focused = body.contains(document.activeElement) ? document.activeElement.dataset.number : null;
    const opened = result.get("opened");
    body.replaceChildren(...model.get("rows").map((row) => line(row, opened, open)));
    if (focused) body.querySelector(`[data-number="${focused}"]`)?.focus();
  };
  model.on("change:rows", show);
  result.on("change:opened", show);
  show();
  return () => result.off("change:opened", show);
}

export default { render };
