// A button that asks the kernel for a file and hands it to the browser's downloads.

function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sc-button";
  button.textContent = model.get("words");
  button.addEventListener("click", () => model.send({}));
  el.append(button);
  const save = ({ name, kind }, [content]) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type: kind }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  };
  model.on("msg:custom", save);
  return () => model.off("msg:custom", save);
}

export default { render };
