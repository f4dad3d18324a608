// The answer for the opened lesion, its evidence, and the reports.

const RESULT = `
<div data-answer></div>
<div class="sc-details"><div data-evidence></div><div data-measures></div><div data-cases></div></div>
<fieldset class="sc-save">
  <legend>Report</legend>
  <label>Patient reference <input type="text" data-patient autocomplete="off" maxlength="100"></label>
  <label>Site of this lesion <input type="text" data-site autocomplete="off" maxlength="100"></label>
  <button type="button" class="sc-button" data-one>Save report</button>
  <button type="button" class="sc-button" data-all hidden>Save report of all lesions</button>
  <p class="sc-small">What you type stays in this tab and goes into the report alone.</p>
</fieldset>`;

function render({ model, el }) {
  el.classList.add("sc-result");
  el.innerHTML = RESULT;
  const find = (selector) => el.querySelector(selector);
  const [patient, site, one, all] = ["[data-patient]", "[data-site]", "[data-one]", "[data-all]"].map(find);
  const palette = bytes(model.get("palette"));
  const view = evidence(find("[data-evidence]"), palette);
  const sites = new WeakMap();
  let record = null;

  const fill = (name) => (find(`[data-${name}]`).innerHTML = record ? record.get(name) : "");
  const tell = () => {
    const unfolded = find("details")?.open;
    fill("answer");
    if (unfolded) find("details").open = true;
    view.label();
  };
  const get = (number) => model.widget_manager.get_model(model.get("records")[number].replace("IPY_MODEL_", ""));
  const open = async () => {
    const number = model.get("opened");
    const next = number ? await get(number) : null;
    record?.off("change", tell);
    record = next;
    record?.on("change", tell);
    ["answer", "measures", "cases"].forEach(fill);
    site.value = sites.get(record) ?? "";
    view.show(record);
  };
  const count = () => {
    const lesions = model.get("ranked").length;
    all.hidden = lesions < 2;
    if (!lesions) patient.value = "";
  };
  const report = (records) => {
    const lesions = records.map((each) => ({ record: each, site: sites.get(each) ?? "" }));
    return saveReport(lesions, patient.value, model.get("template"), palette);
  };
  site.addEventListener("input", () => sites.set(record, site.value));
  one.addEventListener("click", () => record && report([record]));
  all.addEventListener("click", async () => report(await Promise.all(model.get("ranked").map(get))));
  model.on("change:opened", open);
  model.on("change:ranked", count);
  count();
  open();
  return () => {
    record?.off("change", tell);
    view.show(null);
  };
}

export default { render };
