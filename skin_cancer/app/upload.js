// Files that are chosen, dropped, pasted or photographed, to the kernel in chunks.

const CHUNK = 1 << 20;
const PATIENCE = 30_000; // milliseconds without an answer from the kernel
const TYPES = ".jpg,.jpeg,.png,.bmp,.tif,.tiff,.webp";
const SILENT = "The classifier does not answer any more. Reload the page and choose the picture again.";
const UNREADABLE = "The file cannot be read from your device. Choose it again.";

const MARKUP = `
<div class="sc-drop">
  <p>Drop pictures here, paste them, or</p>
  <div class="sc-buttons">
    <button type="button" class="sc-button sc-primary" data-choose>Choose pictures</button>
    <button type="button" class="sc-button" data-camera>Take a picture</button>
    <button type="button" class="sc-button" data-example>Try an example</button>
  </div>
  <input type="file" data-files accept="${TYPES}" multiple hidden aria-label="Pictures">
  <input type="file" data-photo accept="image/*" capture="environment" hidden aria-label="Camera">
</div>
<ul class="sc-queue" aria-label="Pictures on their way"></ul>
<p class="sc-alert" role="alert" hidden></p>
<dialog class="sc-camera" aria-label="Camera">
  <video autoplay playsinline muted></video>
  <div class="sc-buttons">
    <button type="button" class="sc-button sc-primary" data-shoot>Take the picture</button>
    <button type="button" class="sc-button" data-cancel>Cancel</button>
  </div>
</dialog>`;

/** Answers of the kernel by the number of the message that they answer. */
function answers(model) {
  const waiting = new Map();
  const listen = (message) => waiting.get(message.answers)?.(message);
  model.on("msg:custom", listen);
  let number = 0;
  const ask = (content, chunk) =>
    new Promise((resolve, reject) => {
      const mine = ++number;
      const timer = setTimeout(() => reject(new Error(SILENT)), PATIENCE);
      waiting.set(mine, (message) => {
        clearTimeout(timer);
        waiting.delete(mine);
        resolve(message);
      });
      model.send({ ...content, number: mine }, undefined, [chunk]);
    });
  return { ask, stop: () => model.off("msg:custom", listen) };
}

async function read(file, offset, limit) {
  if (file.size > limit) return new ArrayBuffer(0); // the kernel refuses it by its size
  try {
    return await file.slice(offset, offset + CHUNK).arrayBuffer();
  } catch {
    throw new Error(UNREADABLE);
  }
}

async function transfer(file, first, limit, ask, progress) {
  let offset = 0;
  for (;;) {
    const chunk = await read(file, offset, limit);
    const content = { name: file.name, size: file.size, offset, first };
    offset += chunk.byteLength;
    progress(offset);
    const { more } = await ask(content, chunk);
    if (!more) return;
  }
}

function row(file) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  const bar = document.createElement("progress");
  name.textContent = file.name;
  bar.max = file.size || 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Sent of ${file.name}`);
  item.append(name, bar);
  return { item, show: (sent) => (bar.value = sent) };
}

/** A picture from the camera of a machine that has no camera program to hand over to. */
function camera(el, take, say) {
  const dialog = el.querySelector("dialog");
  const video = el.querySelector("video");
  const stop = () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  };
  dialog.addEventListener("close", stop);
  el.querySelector("[data-cancel]").addEventListener("click", () => dialog.close());
  el.querySelector("[data-shoot]").addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    dialog.close();
    const time = new Date().toTimeString().slice(0, 8).replaceAll(":", ".");
    canvas.toBlob((blob) => take([new File([blob], `camera ${time}.jpg`)]), "image/jpeg", 0.95);
  });
  const open = async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1440 } },
      });
      dialog.showModal();
    } catch {
      say("The camera cannot be used. Allow it in the browser, or choose a picture instead.");
    }
  };
  return { open, stop };
}

function render({ model, el }) {
  el.classList.add("sc-upload");
  el.innerHTML = MARKUP;
  const find = (selector) => el.querySelector(selector);
  const [files, photo, drop, queue, alert] = [
    "[data-files]",
    "[data-photo]",
    ".sc-drop",
    ".sc-queue",
    ".sc-alert",
  ].map(find);
  const { ask, stop: stopAnswers } = answers(model);
  const limit = model.get("limit");
  const todo = [];
  let working = false;

  const say = (words) => {
    alert.textContent = words;
    alert.hidden = !words;
  };
  const work = async () => {
    working = true;
    while (todo.length) {
      const { file, first, item, show } = todo.shift();
      try {
        await transfer(file, first, limit, ask, show);
      } catch (error) {
        say(`${file.name}: ${error.message}`);
      }
      item.remove();
    }
    working = false;
  };
  const take = (list) => {
    const chosen = [...list];
    if (!chosen.length) return;
    say("");
    for (const [i, file] of chosen.entries()) {
      const shown = row(file);
      queue.append(shown.item);
      todo.push({ file, first: i === 0, ...shown });
    }
    if (!working) work();
  };

  const shot = camera(el, take, say);
  const phone = matchMedia("(pointer: coarse)").matches;
  find("[data-camera]").hidden = !phone && !navigator.mediaDevices?.getUserMedia;
  find("[data-camera]").addEventListener("click", () => (phone ? photo.click() : shot.open()));
  find("[data-example]").addEventListener("click", () => model.send({ event: "example" }));
  find("[data-choose]").addEventListener("click", () => files.click());
  for (const input of [files, photo]) {
    input.addEventListener("change", () => {
      take(input.files);
      input.value = "";
    });
  }

  // Voila's whole window is the page; in JupyterLab only what lies within it is.
  const ours = (event) => document.body.dataset.voila || event.target.closest?.(".sc-page");
  const listeners = {
    paste: (event) => {
      if (!ours(event) || !event.clipboardData.files.length) return;
      event.preventDefault();
      take(event.clipboardData.files);
    },
    dragover: (event) => {
      if (!ours(event)) return;
      event.preventDefault();
      drop.classList.add("sc-over");
    },
    dragleave: (event) => {
      if (!event.relatedTarget) drop.classList.remove("sc-over");
    },
    drop: (event) => {
      drop.classList.remove("sc-over");
      if (!ours(event)) return;
      event.preventDefault();
      take(event.dataTransfer.files);
    },
  };
  for (const [name, listener] of Object.entries(listeners)) {
    document.addEventListener(name, listener);
  }
  model.send({ event: "ready" });
  return () => {
    stopAnswers();
    shot.stop();
    for (const [name, listener] of Object.entries(listeners)) {
      document.removeEventListener(name, listener);
    }
  };
}

export default { render };
