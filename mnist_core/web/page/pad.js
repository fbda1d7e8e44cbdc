// The pad: strokes of a mouse, a finger, a pen or the keyboard, kept so that they can be undone.

const WIDTH = 24; // of a stroke, in the canvas's pixels
const RUBBER = 60;
const SENT = 0.6; // of the canvas's size: all that reading looks at
const STEP = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Pad {
  erasing = false;
  #strokes = [];
  #current = null; // the stroke that is being drawn
  #pointer = null; // that draws it; a second finger draws nothing

  constructor(canvas, cursor, changed) {
    this.canvas = canvas;
    this.cursor = cursor;
    this.changed = changed;
    this.context = canvas.getContext("2d");
    this.at = [canvas.width / 2, canvas.height / 2]; // of the keyboard's pen
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this.#lift(event));
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.#showCursor(canvas.matches(":focus-visible")));
    canvas.addEventListener("blur", () => {
      this.#current = null;
      this.#showCursor(false);
    });
  }

  get empty() {
    return !this.#strokes.length;
  }

  undo() {
    this.#strokes.pop();
    this.#redraw();
  }

  clear() {
    this.#strokes = [];
    this.#redraw();
  }

  /** A PNG of the drawing, black on white. */
  async picture() {
    const { width, height } = this.canvas;
    const paper = new OffscreenCanvas(width * SENT, height * SENT);
    const context = paper.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, paper.width, paper.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.canvas, 0, 0, paper.width, paper.height);
    return paper.convertToBlob({ type: "image/png" });
  }

  #begin(point) {
    this.#current = { erasing: this.erasing, points: [point] };
    this.#strokes.push(this.#current);
    this.#draw(this.#current);
    this.changed();
  }

  #extend(points) {
    const from = this.#current.points.length - 1;
    this.#current.points.push(...points);
    this.#draw(this.#current, from);
    this.changed();
  }

  #draw({ erasing, points }, from = 0) {
    const context = this.context;
    context.globalCompositeOperation = erasing ? "destination-out" : "source-over";
    context.lineWidth = erasing ? RUBBER : WIDTH;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...points[from]);
    // A line to where it begins makes a dot of a stroke of one point.
    for (const point of points.slice(Math.min(from + 1, points.length - 1))) {
      context.lineTo(...point);
    }
    context.stroke();
  }

  #redraw() {
    this.#current = null;
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.#strokes.forEach((stroke) => this.#draw(stroke));
    this.#showCursor(!this.cursor.hidden);
    this.changed();
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.canvas.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  #press(event) {
    if (event.button !== 0 || this.#pointer !== null) return;
    this.#pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.#showCursor(false);
    this.#begin(this.#point(event));
  }

  #move(event) {
    if (event.pointerId !== this.#pointer || !this.#current) return;
    const events = event.getCoalescedEvents?.() ?? [];
    this.#extend((events.length ? events : [event]).map((each) => this.#point(each)));
  }

  #lift(event) {
    if (event.pointerId !== this.#pointer) return;
    this.#pointer = this.#current = null;
  }

  #key(event) {
    const step = STEP[event.key];
    if (step) {
      const length = event.shiftKey ? 30 : 10;
      const { width, height } = this.canvas;
      const [x, y] = this.at.map((value, i) => value + step[i] * length);
      this.at = [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
      if (this.#current) this.#extend([this.at]);
    } else if (event.key === " ") {
      if (this.#current) this.#current = null;
      else this.#begin(this.at);
    } else if (event.key === "Delete") {
      this.clear();
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      this.undo();
    } else {
      return;
    }
    event.preventDefault();
    this.#showCursor(true);
  }

  #showCursor(shown) {
    this.cursor.hidden = !shown;
    this.cursor.classList.toggle("down", Boolean(this.#current));
    this.cursor.style.left = `${(100 * this.at[0]) / this.canvas.width}%`;
    this.cursor.style.top = `${(100 * this.at[1]) / this.canvas.height}%`;
  }
}
