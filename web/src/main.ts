import "./style.css";
import { Camera } from "./camera";
import { keys, pointers, type Actions } from "./controls";
import { parse, unpack, weightsAt, type Asset } from "./glb";
import { Renderer } from "./renderer";
import { makeSorter } from "./sort";
import SortWorker from "./sort.worker?worker&inline";
import type { SortAnswer, SortRequest } from "./sort.worker";

const PAUSE = "M3 2h4v12H3zm6 0h4v12H9z", PLAY = "M4 2v12l10-6z";
const BACKGROUNDS = ["", "white", "black", "checker"] as const;
const BACKGROUND_NAMES = ["as the system", "white", "black", "checker"];

function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page lacks #${id}`);
  return found as T;
}

function say(text: string): void {
  element("message").hidden = !text;
  element("message").textContent = text;
}

async function main(): Promise<void> {
  document.body.classList.toggle("bare", location.hash === "#bare");
  const canvas = element<HTMLCanvasElement>("view");
  const gl = canvas.getContext("webgl2", { antialias: false, depth: false, premultipliedAlpha: true, alpha: true, powerPreference: "high-performance" });
  if (!gl) throw new Error("this browser does not offer WebGL2");
  const text = element("asset");
  const asset = parse(await unpack((text.textContent ?? "").trim()));
  text.remove(); // the packed copy is not needed any more
  new Player(canvas, gl, asset);
}

class Player {
  private readonly camera: Camera;
  private readonly weights: Float32Array;
  private readonly sortHere: ReturnType<typeof makeSorter>;
  private renderer: Renderer | null;
  private worker: Worker | null = null;
  private waiting = false;
  private generation = 0;
  /** Of which time and direction the drawn order is; and of which the worker was asked for one. */
  private sorted = "";
  private asked = "";
  private time = 0;
  private speed = 1;
  private loop: boolean;
  private playing = false;
  private background = 0;
  private dirty = true;
  private last = 0;
  private shown = 0;
  private rate = 0;
  private sortTime = 0;
  private drawTime = 0;

  constructor(private readonly canvas: HTMLCanvasElement, private readonly gl: WebGL2RenderingContext, private readonly asset: Asset) {
    this.camera = new Camera(asset.home);
    this.weights = new Float32Array(asset.rank);
    this.loop = asset.loop;
    this.renderer = new Renderer(gl, asset);
    this.sortHere = makeSorter(asset);
    this.startWorker();
    this.connect();
    this.resize();
    this.sort(true);
    this.draw();
    element("poster").hidden = true;
    say("");
    for (const id of ["play", "time"]) (element(id) as HTMLButtonElement | HTMLInputElement).disabled = asset.rank === 0;
    this.play(asset.rank > 0 && !matchMedia("(prefers-reduced-motion: reduce)").matches);
    this.expose();
    // Time runs from the first frame on, however long all of this took.
    requestAnimationFrame((now) => { this.last = now; this.tick(now); });
  }

  private startWorker(): void {
    try {
      this.worker = new SortWorker();
    } catch {
      return; // refused: sorted here instead
    }
    this.worker.postMessage({ count: this.asset.count, positions: this.asset.positions, moves: this.asset.moves });
    this.worker.onmessage = (event: MessageEvent<SortAnswer>) => {
      const { order, generation, milliseconds } = event.data;
      this.waiting = false;
      this.dirty = true;
      this.sortTime = milliseconds;
      // An order asked for before one that was made here is stale.
      if (generation !== this.generation) return;
      this.renderer?.order(order);
      this.sorted = this.asked;
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.worker?.terminate();
      this.worker = null;
      this.waiting = false;
      this.dirty = true;
    };
  }

  /** Sorts only when time or direction changed, so that a page at rest costs nothing. */
  private sort(now: boolean): void {
    const { forward } = this.camera.view(), state = [this.time, ...forward].join(), unit = this.asset.units.position;
    if (state === this.sorted || (this.waiting && !now && this.worker)) return;
    weightsAt(this.asset, this.time, this.weights);
    if (now || !this.worker) {
      this.sorted = state;
      const started = performance.now();
      this.generation++;
      this.renderer?.order(this.sortHere(this.weights, unit, forward));
      this.sortTime = performance.now() - started;
    } else {
      this.waiting = true;
      this.asked = state;
      const request: SortRequest = { weights: this.weights.slice(), unit, forward, generation: this.generation };
      this.worker.postMessage(request);
    }
  }

  private draw(): void {
    const started = performance.now();
    this.renderer?.draw(this.time, this.camera.view());
    this.drawTime = performance.now() - started;
    this.dirty = false;
    const slider = element<HTMLInputElement>("time"), seconds = this.time * this.asset.seconds;
    const clock = `${seconds.toFixed(1)} / ${this.asset.seconds.toFixed(1)} s`;
    slider.value = String(this.time);
    if (slider.getAttribute("aria-valuetext") !== clock) {
      slider.setAttribute("aria-valuetext", clock);
      element("clock").textContent = clock;
    }
  }

  private tick(now: number): void {
    const passed = Math.min(now - this.last, 250) / 1000;
    this.last = now;
    if (this.playing) {
      this.time += (passed / this.asset.seconds) * this.speed;
      if (this.time > 1) {
        if (this.loop) this.time %= 1;
        else { this.time = 1; this.play(false); }
      }
      this.dirty = true;
    }
    if (this.resize() || this.dirty) {
      this.sort(false);
      this.draw();
      if (now - this.shown < 1000) this.rate += 0.1 * (1000 / Math.max(now - this.shown, 1) - this.rate);
      this.shown = now;
    }
    if (!element("stats").hidden) this.report();
    requestAnimationFrame((next) => this.tick(next));
  }

  private resize(): boolean {
    const ratio = Math.min(devicePixelRatio || 1, 2), { canvas } = this;
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width === width && canvas.height === height) return false;
    canvas.width = width;
    canvas.height = height;
    return true;
  }

  private play(value: boolean): void {
    this.playing = value;
    if (value && this.time >= 1) this.time = 0;
    element("play").setAttribute("aria-label", value ? "Pause" : "Play");
    element("playing").setAttribute("d", value ? PAUSE : PLAY);
  }

  private seek(time: number): void {
    this.play(false);
    this.time = Math.min(Math.max(time, 0), 1);
    this.dirty = true;
  }

  private press(button: string): void {
    if (button === "loop") element("loop").setAttribute("aria-pressed", String((this.loop = !this.loop)));
    else if (button === "back") {
      this.background = (this.background + 1) % BACKGROUNDS.length;
      document.body.classList.remove("white", "black", "checker");
      if (this.background) document.body.classList.add(BACKGROUNDS[this.background]!);
      element("back").setAttribute("aria-label", `Background: ${BACKGROUND_NAMES[this.background]}`);
    } else if (button === "reset") { this.camera.reset(); this.dirty = true; }
    else if (button === "info") {
      const stats = element("stats");
      stats.hidden = !stats.hidden;
      element("info").setAttribute("aria-pressed", String(!stats.hidden));
    } else if (button === "full") {
      if (document.fullscreenElement) void document.exitFullscreen();
      else document.documentElement.requestFullscreen?.().catch(() => undefined);
    }
  }

  private report(): void {
    const { asset } = this, mega = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
    element("stats").textContent = [
      this.playing ? `${this.rate.toFixed(0)} frames/s` : "at rest",
      `${asset.count.toLocaleString("en")} splats`,
      `${asset.rank} shared motions`,
      `draw ${this.drawTime.toFixed(1)} ms, sort ${this.sortTime.toFixed(1)} ms`,
      `${mega(asset.bytes)} unpacked, ${mega(this.renderer?.memory ?? 0)} graphics`,
    ].join("\n");
  }

  private connect(): void {
    const actions: Actions = {
      changed: () => { this.dirty = true; },
      togglePlay: () => { if (this.asset.rank) this.play(!this.playing); },
      step: (frames) => this.seek(this.time + frames / Math.max(1, this.asset.times.length - 1)),
      seek: (time) => this.seek(time),
      press: (button) => this.press(button),
    };
    pointers(this.canvas, this.camera, actions);
    keys(this.camera, actions);
    element("loop").setAttribute("aria-pressed", String(this.loop));
    element("play").onclick = () => actions.togglePlay();
    for (const id of ["loop", "back", "reset", "info", "full"]) element(id).onclick = () => this.press(id);
    if (!document.fullscreenEnabled) element("full").hidden = true;
    element<HTMLInputElement>("time").oninput = (event) => this.seek(Number((event.target as HTMLInputElement).value));
    element<HTMLSelectElement>("speed").onchange = (event) => { this.speed = Number((event.target as HTMLSelectElement).value); };
    this.canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.renderer = null;
      say("The graphics device was lost; waiting for it");
    });
    this.canvas.addEventListener("webglcontextrestored", () => {
      this.renderer = new Renderer(this.gl, this.asset);
      this.sorted = "";
      this.sort(true);
      this.dirty = true;
      say("");
    });
  }

  /** What tests and pages around this one may use. */
  private expose(): void {
    const now = (): void => { this.resize(); this.sort(true); this.draw(); };
    Object.assign(window, {
      orbit4d: {
        ready: true,
        count: this.asset.count,
        rank: this.asset.rank,
        seconds: this.asset.seconds,
        play: () => this.play(true),
        pause: () => this.play(false),
        setTime: (time: number) => { this.seek(time); now(); },
        setCamera: (azimuth: number, elevation: number, radius?: number, target?: number[]) => {
          this.camera.set(azimuth, elevation, radius, target);
          now();
        },
        state: () => ({ time: this.time, playing: this.playing, loop: this.loop, speed: this.speed, azimuth: this.camera.azimuth,
          elevation: this.camera.elevation, radius: this.camera.radius, target: [...this.camera.target], background: this.background }),
        /** RGBA bytes, premultiplied, bottom row first, base64, of a square picture. */
        snapshot: (side: number) => {
          const { canvas, gl } = this, before = [canvas.width, canvas.height] as const;
          canvas.width = canvas.height = side;
          this.sort(true);
          this.draw();
          const pixels = new Uint8Array(4 * side * side);
          gl.readPixels(0, 0, side, side, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
          [canvas.width, canvas.height] = before;
          this.draw();
          let text = "";
          for (let i = 0; i < pixels.length; i += 8192) text += String.fromCharCode(...pixels.subarray(i, i + 8192));
          return btoa(text);
        },
      },
    });
  }
}

main().catch((error: unknown) => {
  say(`The asset cannot be shown: ${error instanceof Error ? error.message : error}.`);
});
