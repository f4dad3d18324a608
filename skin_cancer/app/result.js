// The answer for the opened lesion, its evidence, and the button that saves its report.

const RESULT = `
<div data-answer></div>
<div class="sc-details"><div data-evidence></div><div data-measures></div><div data-cases></div></div>
<div class="sc-save"><button type="button" class="sc-button">Save the report</button></div>`;

function render({ model, el }) {
  el.classList.add("sc-result");
  el.innerHTML = RESULT;
  const find = (selector) => el.querySelector(selector);
  const palette = bytes(model.get("palette"));
  const view = evidence(find("[data-evidence]"), palette);
  let record = null;

  const fill = (name) => (find(`[data-${name}]`).innerHTML = record ? record.get(name) : "");
  const tell = () => {
    fill("answer");
    view.label();
  };
  const open = async () => {
    const reference = model.get("records")[model.get("opened")];
    const next = reference ? await model.widget_manager.get_model(reference.replace("IPY_MODEL_", "")) : null;
    record?.off("change", tell);
    record = next;
    record?.on("change", tell);
    ["answer", "measures", "cases"].forEach(fill);
    view.show(record);
  };
  find("button").addEventListener("click", () => record && saveReport(record, model.get("template"), palette));
  model.on("change:opened", open);
  open();
  return () => {
    record?.off("change", tell);
    view.show(null);
  };
}

export default { render };
