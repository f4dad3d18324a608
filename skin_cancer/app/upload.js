// Files that are chosen, dropped, pasted or photographed, to the kernel in chunks.

const CHUNK = 1 << 20;
const TICK = 1_000; // milliseconds, in which everything that the visitor did is one question
const SERVER_TICKS = 2; // between two questions whether the server is there, if the visitor does nothing
const KERNEL_TICKS = 10; // the same of the kernel
const SERVER_PATIENCE = 3_000; // milliseconds without an answer from the server
const KERNEL_PATIENCE = 15_000; // the same of the kernel, which may be busy with a large image
const ACTIONS = ["click", "keydown", "change"];
const SILENT = "The classifier does not answer. If that stays so, reload the page.";
const KEPT = "What it has read can still be opened and saved; reloading the page removes it.";
const NO_FILE = "That was not a file. Save the image on your device first, or copy and paste it.";
const NO_CAMERA = "No camera was found. Choose an image instead.";
const REFUSED = "The camera cannot be used. Allow it in the browser, or choose an image instead.";
const UNREADABLE = "The file could not be read from your device. Choose it again.";

const MARKUP = `
<div class="sc-drop">
  <p>Drop images here, paste them, or</p>
  <div class="sc-buttons">
    <button type="button" class="sc-button sc-primary" data-choose>Choose images</button>
    <button type="button" class="sc-button" data-camera>Take a photo</button>
    <button type="button" class="sc-button" data-example>Try an example</button>
  </div>
  <input type="file" data-files multiple hidden aria-label="Images">
  <input type="file" data-photo accept="image/*" capture="environment" hidden aria-label="Camera">
</div>
<ul class="sc-queue" aria-label="Images on their way"></ul>
<div class="sc-alert sc-empty" role="alert" data-alert></div>
<dialog class="sc-camera" aria-label="Camera">
  <div class="sc-frame"><video autoplay playsinline muted></video></div>
  <p class="sc-small">The dashed square is what will be read.</p>
  <div class="sc-buttons">
    <button type="button" class="sc-button sc-primary" data-shoot>Take the photo</button>
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
    new Promise((resolve) => {
      const mine = ++number;
      waiting.set(mine, (message) => {
        waiting.delete(mine);
        resolve(message);
      });
      model.send({ ...content, number: mine }, undefined, chunk ? [chunk] : []);
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

async function transfer(file, batch, left, limit, ask, progress) {
  let offset = 0;
  for (;;) {
    const chunk = await read(file, offset, limit);
    const content = { name: file.name, size: file.size, offset, batch, left: left() };
    offset += chunk.byteLength;
    progress(offset);
    const { more } = await ask(content, chunk);
    if (!more) return;
  }
}

/** Whether the server is there and still has the kernel. */
async function served(kernel) {
  if (!kernel) return true; // a front end that does not tell its address
  const address = `${kernel.serverSettings.baseUrl}api/kernels/${kernel.id}`;
  try {
    const answer = await fetch(address, { signal: AbortSignal.timeout(SERVER_PATIENCE) });
    return answer.status !== 404 && answer.status < 500;
  } catch {
    return false;
  }
}

/** Ask one thing at a time. */
function oneAtATime(question) {
  let asking = false;
  return async () => {
    if (asking) return;
    asking = true;
    await question();
    asking = false;
  };
}

/** Ask now and then, and after what the visitor does, whether server and kernel are there. */
function pulse(kernel, ask, tell) {
  let silent = false; // the kernel
  let ticks = 0;
  let acted = false;
  const askServer = oneAtATime(async () => tell((await served(kernel)) && !silent));
  const askKernel = oneAtATime(async () => {
    const late = setTimeout(() => {
      silent = true;
      tell(false);
    }, KERNEL_PATIENCE);
    const answered = await ask({ event: "alive" }).then(
      () => true,
      () => false, // there is no connection to send by
    );
    clearTimeout(late);
    silent = !answered;
    askServer();
  });
  const tick = () => {
    ticks += 1;
    if (acted || ticks % SERVER_TICKS === 0) askServer();
    if (acted || ticks % KERNEL_TICKS === 0) askKernel();
    acted = false;
  };
  const act = () => (acted = true);
  const timer = setInterval(tick, TICK);
  for (const action of ACTIONS) document.addEventListener(action, act);
  return () => {
    clearInterval(timer);
    for (const action of ACTIONS) document.removeEventListener(action, act);
  };
}

function reload() {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sc-button";
  button.textContent = "Reload the page";
  button.addEventListener("click", () => location.reload());
  return button;
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

/** An image from the camera of a machine that has no camera program to hand over to. */
function camera(el, take, say) {
  const dialog = el.querySelector("dialog");
  const video = el.querySelector("video");
  const shoot = el.querySelector("[data-shoot]");
  let asking = false;
  const stop = () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  };
  dialog.addEventListener("close", stop);
  el.querySelector("[data-cancel]").addEventListener("click", () => dialog.close());
  video.addEventListener("loadeddata", () => (shoot.disabled = false));
  shoot.addEventListener("click", () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    dialog.close();
    const time = new Date().toTimeString().slice(0, 8).replaceAll(":", ".");
    const hand = (blob) => blob && take([new File([blob], `camera ${time}.jpg`)]);
    canvas.toBlob(hand, "image/jpeg", 0.95);
  });
  const open = async () => {
    if (asking || video.srcObject) return;
    asking = shoot.disabled = true;
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1440 } },
      });
      dialog.showModal();
    } catch (error) {
      say(error.name === "NotFoundError" ? NO_CAMERA : REFUSED);
    }
    asking = false;
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
    "[data-alert]",
  ].map(find);
  const { ask, stop: stopAnswers } = answers(model);
  const limit = model.get("limit");
  files.accept = model.get("endings");
  const todo = [];
  let unread = [];
  let batch = 0;
  let working = false;
  let alive = true;

  const say = (...sentences) => {
    if (!alive) return;
    alert.replaceChildren(
      ...sentences.map((sentence) => {
        const paragraph = document.createElement("p");
        paragraph.textContent = sentence;
        return paragraph;
      }),
    );
    alert.classList.toggle("sc-empty", !sentences.length);
  };
  const empty = () => {
    todo.length = 0;
    queue.replaceChildren();
  };
  const told = (answered) => {
    if (answered === alive) return;
    const page = el.closest(".sc-page") ?? el;
    if (answered) {
      alive = true;
      say();
    } else {
      say(SILENT, ...(page.querySelector(".sc-result")?.checkVisibility() ? [KEPT] : []));
      alive = false;
      alert.append(reload());
    }
    alert.classList.toggle("sc-gone", !alive); // it stays in the window
    for (const part of page.querySelectorAll(".sc-settings, .sc-clear, .sc-undo, .sc-remove")) part.inert = !alive;
    for (const button of drop.querySelectorAll("button")) button.disabled = !alive;
  };
  const work = async () => {
    working = true;
    find("[data-example]").disabled = true;
    while (todo.length) {
      const { file, item, show } = todo.shift();
      try {
        await transfer(file, batch, () => todo.length, limit, ask, show);
      } catch (error) {
        if (error.message !== UNREADABLE) {
          told(false);
          break;
        }
        unread.push(`${file.name}: ${error.message}`);
        say(...unread);
      }
      item.remove();
    }
    working = false;
    find("[data-example]").disabled = !alive;
  };
  // Files that come while others are on their way join them.
  const take = (list) => {
    const chosen = [...list];
    if (!chosen.length) return;
    if (!working) {
      batch += 1;
      unread = [];
      say();
    }
    for (const file of chosen) {
      const shown = row(file);
      queue.append(shown.item);
      todo.push({ file, ...shown });
    }
    if (!working) work();
  };
  const forget = (message) => {
    if (!message.forget) return;
    empty();
    unread = [];
    say();
    batch += 1;
    find("[data-choose]").focus();
  };
  model.on("msg:custom", forget);
  const stopPulse = pulse(model.widget_manager.kernel, ask, told);

  const shot = camera(el, take, say);
  const phone = matchMedia("(pointer: coarse)").matches;
  find("[data-camera]").hidden = !phone && !navigator.mediaDevices?.getUserMedia;
  find("[data-camera]").addEventListener("click", () => (phone ? photo.click() : shot.open()));
  find("[data-example]").addEventListener("click", () => {
    say();
    model.send({ event: "example" });
  });
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
      if (event.dataTransfer.files.length) take(event.dataTransfer.files);
      else say(NO_FILE);
    },
  };
  for (const [name, listener] of Object.entries(listeners)) {
    document.addEventListener(name, listener);
  }
  model.send({ event: "ready" });
  return () => {
    stopAnswers();
    stopPulse();
    model.off("msg:custom", forget);
    shot.stop();
    for (const [name, listener] of Object.entries(listeners)) {
      document.removeEventListener(name, listener);
    }
  };
}

export default { render };
