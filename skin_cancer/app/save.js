// A button that saves a file which the browser holds already.

function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sc-button";
  button.textContent = model.get("words");
  button.addEventListener("click", () => download(model.get("name"), model.get("kind"), model.get("text")));
  el.append(button);
}

export default { render };
