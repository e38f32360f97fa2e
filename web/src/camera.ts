// An orbit camera in the world's axes (z up), with OpenCV's view axes: right, down, forward.

export interface View {
  matrix: Float32Array;
  eye: [number, number, number];
  forward: [number, number, number];
  right: [number, number, number];
  down: [number, number, number];
  /** Across the shorter side of the picture, radians. */
  fov: number;
}

export interface Home { target: [number, number, number]; radius: number; fov: number }

const RAD = Math.PI / 180;

export class Camera {
  azimuth = 0;
  elevation = 0;
  radius: number;
  target: [number, number, number];

  constructor(private readonly home: Home) {
    this.radius = home.radius;
    this.target = [...home.target];
  }

  reset(): void {
    this.set(0, 0, this.home.radius, this.home.target);
  }

  set(azimuth: number, elevation: number, radius = this.home.radius, target: readonly number[] = this.home.target): void {
    this.azimuth = azimuth;
    this.elevation = elevation;
    this.radius = radius;
    this.target = [target[0]!, target[1]!, target[2]!];
  }

  orbit(dx: number, dy: number): void {
    this.azimuth -= dx;
    this.elevation = Math.min(Math.max(this.elevation + dy, -89), 89);
  }

  zoom(factor: number): void {
    this.radius = Math.min(Math.max(this.radius * factor, 0.2 * this.home.radius), 10 * this.home.radius);
  }

  /** Moves the target by parts of the picture's shorter side. */
  pan(dx: number, dy: number): void {
    const { right, down } = this.view(), reach = 2 * this.radius * Math.tan((this.home.fov * RAD) / 2);
    for (let i = 0; i < 3; i++) this.target[i]! -= (right[i]! * dx + down[i]! * dy) * reach;
  }

  view(): View {
    const a = this.azimuth * RAD, e = this.elevation * RAD;
    const ca = Math.cos(a), sa = Math.sin(a), ce = Math.cos(e), se = Math.sin(e);
    const out = [ce * sa, -ce * ca, se] as const;
    const f: [number, number, number] = [-out[0], -out[1], -out[2]], r: [number, number, number] = [ca, sa, 0];
    const d: [number, number, number] = [f[1] * r[2] - f[2] * r[1], f[2] * r[0] - f[0] * r[2], f[0] * r[1] - f[1] * r[0]];
    const p: [number, number, number] = [0, 1, 2].map((i) => out[i]! * this.radius + this.target[i]!) as [number, number, number];
    const shift = (u: readonly number[]): number => -(u[0]! * p[0] + u[1]! * p[1] + u[2]! * p[2]);
    const matrix = new Float32Array([r[0], d[0], f[0], 0, r[1], d[1], f[1], 0, r[2], d[2], f[2], 0, shift(r), shift(d), shift(f), 1]);
    return { matrix, eye: p, forward: f, right: r, down: d, fov: this.home.fov * RAD };
  }
}
