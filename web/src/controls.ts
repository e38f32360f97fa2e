import type { Camera } from "./camera";

export interface Actions {
  changed(): void;
  togglePlay(): void;
  step(frames: number): void;
  seek(time: number): void;
  press(button: "loop" | "back" | "reset" | "info" | "full"): void;
}

/** Mouse, touch and pen: one pointer orbits (pans with shift or another button), two pan and zoom. */
export function pointers(canvas: HTMLCanvasElement, camera: Camera, actions: Actions): void {
  const held = new Map<number, { x: number; y: number }>();
  const side = (): number => Math.max(1, Math.min(canvas.clientWidth, canvas.clientHeight));
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    held.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"] as const)
    canvas.addEventListener(name, (event) => held.delete(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY }, dx = now.x - before.x, dy = now.y - before.y;
    const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const gap = (p: { x: number; y: number }): number => Math.max(1, Math.hypot(p.x - other.x, p.y - other.y));
      camera.zoom(gap(before) / gap(now));
      camera.pan(dx / 2 / side(), dy / 2 / side());
    } else if (event.buttons & 6 || event.shiftKey) camera.pan(dx / side(), dy / side());
    else camera.orbit(dx * 0.4, dy * 0.4);
    held.set(event.pointerId, now);
    actions.changed();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    // Inside another page the wheel scrolls that page, until this one was clicked.
    if (parent !== window && !document.hasFocus()) return;
    event.preventDefault();
    const pixels = event.deltaY * [1, 16, 400][event.deltaMode]!;
    camera.zoom(Math.exp(Math.min(Math.max(pixels, -300), 300) * 0.001));
    actions.changed();
  }, { passive: false });
}

const ARROWS: Record<string, [number, number]> = { ArrowLeft: [8, 0], ArrowRight: [-8, 0], ArrowUp: [0, 8], ArrowDown: [0, -8] };
const LETTERS: Record<string, "loop" | "back" | "reset" | "info" | "full"> = { l: "loop", b: "back", r: "reset", s: "info", f: "full" };

/** Keys that work wherever the focus is, except where a control uses them itself. */
export function keys(camera: Camera, actions: Actions): void {
  addEventListener("keydown", (event) => {
    const { target, key } = event, button = target instanceof HTMLButtonElement;
    if (event.ctrlKey || event.metaKey || event.altKey || target instanceof HTMLSelectElement) return;
    const slider = target instanceof HTMLInputElement, arrow = ARROWS[key], letter = LETTERS[key.toLowerCase()];
    if (arrow && !slider) {
      if (event.shiftKey) camera.pan(-arrow[0] / 160, arrow[1] / 160); else camera.orbit(...arrow);
      actions.changed();
    } else if (key === "+" || key === "=" || key === "-") {
      camera.zoom(key === "-" ? 1.1 : 0.9);
      actions.changed();
    } else if (key === " " && !button) actions.togglePlay();
    else if ((key === "," || key === ".") ) actions.step(key === "," ? -1 : 1);
    else if ((key === "Home" || key === "End") && !slider) actions.seek(key === "Home" ? 0 : 1);
    else if (letter) actions.press(letter);
    else return;
    event.preventDefault();
  });
}
