// The page: sends what is drawn or chosen, one picture at a time, and shows what was read.

import { Pad } from "./pad.js";

const LONGEST = 1600; // side of a photo that is sent, in pixels
const PATIENCE = 30_000; // milliseconds
const PAUSE = 700; // before asking a busy server again

const $ = (id) => document.getElementById(id);
const pad = new Pad($("pad"), $("cursor"), drawn);
const bars = Array.from({ length: 10 }, (_, digit) => {
  const row = document.createElement("li");
  row.append(element("span", digit), element("i"), element("span", "–"));
  return $("bars").appendChild(row);
});
let asking = false;
let next = null; // makes the picture to send once the answer to this one is there
let sheet = 0; // counts the pictures begun: an answer about an earlier one comes too late

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// Asking

/** Has a picture read: at once, or when the one before is done; of those that wait only the newest is. */
async function ask(make) {
  next = make;
  if (asking) return;
  asking = true;
  $("text").setAttribute("aria-busy", true);
  while (next) {
    const [current, asked] = [next, sheet];
    next = null;
    try {
      const answer = await read(await current(), () => next || asked !== sheet);
      if (asked === sheet && answer) show(answer);
    } catch (error) {
      if (asked === sheet) fail(explain(error));
    }
  }
  asking = false;
  $("text").setAttribute("aria-busy", false);
}

function explain({ name, message }) {
  if (name === "TypeError") return "The server can't be reached; is it still running?";
  return name === "TimeoutError" ? "The server doesn't answer; try again." : message;
}

/** The server's answer; nothing when it is too busy until nobody waits for it any more. */
async function read(picture, isOutdated) {
  const signal = AbortSignal.timeout(PATIENCE);
  for (;;) {
    const headers = { "Content-Type": picture.type.startsWith("image/") ? picture.type : "image/*" };
    const response = await fetch("api/predict", { method: "POST", body: picture, headers, signal });
    if (response.status === 503) {
      if (isOutdated()) return null;
      say("The server is busy …");
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      if (isOutdated()) return null;
      continue;
    }
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    return answer;
  }
}

// Showing

function show(answer) {
  const many = answer.digits.length > 6;
  const buttons = answer.digits.map((digit, i) => {
    const button = element("button", digit.digit);
    button.type = "button";
    button.title = percent(digit.probability);
    button.addEventListener("click", () => choose(answer, buttons, i));
    return button;
  });
  const rest = [...buttons];
  const rows = answer.text.split("\n").map((line) => {
    const row = element("div");
    row.append(...rest.splice(0, line.length));
    return row;
  });
  $("text").classList.toggle("many", many);
  $("text").replaceChildren(...rows);
  choose(answer, buttons, answer.digits.length - 1);
  const count = answer.digits.length;
  say(count ? `${count === 1 ? "Read" : `${count} digits, read`} in ${Math.ceil(answer.milliseconds)} ms` : "No digit here.");
}

/** Shows the details of one digit; none when there is none. */
function choose(answer, buttons, chosen) {
  const digit = answer.digits[chosen];
  buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === chosen));
  bars.forEach((row, i) => {
    const share = digit ? digit.probabilities[i] : 0;
    row.classList.toggle("best", i === digit?.digit);
    row.children[1].style.setProperty("--share", share);
    row.children[2].textContent = digit ? percent(share) : "–";
  });
  drawSeen(digit);
  drawBoxes(answer, chosen);
}

function drawSeen(digit) {
  const context = $("seen").getContext("2d");
  context.clearRect(0, 0, 28, 28);
  if (!digit) return;
  const bytes = atob(digit.image);
  const pixels = context.createImageData(28, 28);
  for (let i = 0; i < bytes.length; i++) {
    pixels.data.fill(bytes.charCodeAt(i), 4 * i, 4 * i + 3);
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

function drawBoxes({ width, height, digits }, chosen) {
  $("boxes").setAttribute("viewBox", `0 0 ${width} ${height}`);
  const rects = digits.map(({ box }, i) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    ["x", "y", "width", "height"].forEach((name, k) => rect.setAttribute(name, box[k]));
    rect.classList.toggle("chosen", i === chosen);
    return rect;
  });
  $("boxes").replaceChildren(...rects);
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

function nothing() {
  show({ text: "", digits: [], width: 1, height: 1 });
  say("");
}

function fail(message) {
  nothing();
  if ($("photo").hidden) showPad();
  say(message, true);
}

// Drawing

function drawn() {
  $("hint").hidden = !pad.empty;
  $("undo").disabled = pad.empty;
  if (pad.empty) {
    newSheet();
  } else {
    ask(() => pad.picture());
  }
}

/** Forgets what was read, and what is still being read. */
function newSheet() {
  sheet += 1;
  next = null;
  nothing();
}

function useTool(erasing) {
  pad.erasing = erasing;
  $("pen").setAttribute("aria-pressed", !erasing);
  $("eraser").setAttribute("aria-pressed", erasing);
}

function showPad() {
  $("photo").hidden = true;
  $("pad").hidden = false;
  $("hint").hidden = !pad.empty;
  ["pen", "eraser"].forEach((id) => ($(id).disabled = false));
}

// Photos

async function loadPhoto(file) {
  pad.clear();
  $("pad").hidden = $("hint").hidden = $("photo").hidden = true;
  ["pen", "eraser", "undo"].forEach((id) => ($(id).disabled = true));
  say("Reading …");
  ask(() => drawPhoto(file));
}

/** Shows a photo, and makes of it what is sent; a file that the browser can't show is sent as it is. */
async function drawPhoto(file) {
  const begun = sheet;
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return file;
  }
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const canvas = $("photo");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  if (begun === sheet) canvas.hidden = false;
  // JPEG knows no transparency.
  const type = file.type === "image/jpeg" ? "image/jpeg" : "image/png";
  return new Promise((resolve) => canvas.toBlob(resolve, type, 0.92));
}

$("pen").addEventListener("click", () => useTool(false));
$("eraser").addEventListener("click", () => useTool(true));
$("undo").addEventListener("click", () => pad.undo());
$("clear").addEventListener("click", () => {
  showPad();
  useTool(false);
  pad.clear();
});
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) loadPhoto(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
document.addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData.files.length) loadPhoto(clipboardData.files[0]);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("stage").classList.add("over");
});
document.addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) $("stage").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("stage").classList.remove("over");
  if (event.dataTransfer.files.length) loadPhoto(event.dataTransfer.files[0]);
});

drawn();
fetch("healthz")
  .then((response) => response.json())
  .then(({ run }) => run && ($("run").textContent = run))
  .catch(() => {});
