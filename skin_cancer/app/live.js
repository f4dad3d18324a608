// A region that is announced when its text changes.

function render({ model, el }) {
  const region = document.createElement("div");
  const role = model.get("role");
  region.setAttribute("role", role);
  region.className = `sc-${role}`;
  el.append(region);
  const show = () => {
    const lines = model.get("value").split("\n").filter(Boolean);
    region.replaceChildren(
      ...lines.map((line) => {
        const paragraph = document.createElement("p");
        paragraph.textContent = line;
        return paragraph;
      }),
    );
    region.classList.toggle("sc-empty", !lines.length);
  };
  model.on("change:value", show);
  show();
  return () => model.off("change:value", show);
}

export default { render };
