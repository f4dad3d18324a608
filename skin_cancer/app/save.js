// A button that saves a table which the browser holds already.

const UTF8 = "\ufeff"; // by which Excel knows it

/** Write a table as spreadsheets of the visitor's language expect it. */
function csv(lines) {
  const comma = (0.5).toLocaleString(navigator.language).includes(",");
  const separator = comma ? ";" : ",";
  const cell = (value) => {
    const text = typeof value === "number" && comma ? String(value).replace(".", ",") : String(value);
    return /[",;\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return UTF8 + lines.map((line) => `${line.map(cell).join(separator)}\r\n`).join("");
}

function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sc-button";
  button.textContent = model.get("words");
  button.addEventListener("click", () => download(model.get("name"), "text/csv", csv(model.get("lines"))));
  el.append(button);
}

export default { render };
