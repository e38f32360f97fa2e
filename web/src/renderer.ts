import { weightsAt, type Asset } from "./glb";
import type { View } from "./camera";
import { DRAW_FRAGMENT, DRAW_VERTEX, EVALUATE_VERTEX, evaluateFragment } from "./shaders";

/** Splats an instance: graphics devices, and software even more, are slow at instances of one quad. */
const BATCH = 128;

type Locations = Record<string, WebGLUniformLocation | null>;

/** Draws an asset at one time from one view. Holds everything that lives on the graphics device. */
export class Renderer {
  private readonly weights: Float32Array;
  private readonly evaluate: WebGLProgram;
  private readonly paint: WebGLProgram;
  private readonly evaluateAt: Locations;
  private readonly paintAt: Locations;
  private readonly width: number;
  private readonly rows: number;
  private readonly frame: WebGLFramebuffer;
  private readonly states: WebGLTexture[];
  private readonly inputs: WebGLTexture[];
  private readonly sorted: WebGLTexture;
  private readonly empty: WebGLVertexArrayObject;
  private readonly quads: WebGLVertexArrayObject;
  private evaluated = "";
  private ordered = 0;

  constructor(private readonly gl: WebGL2RenderingContext, private readonly asset: Asset) {
    const n = asset.count, largest = gl.getParameter(gl.MAX_TEXTURE_SIZE) as number;
    this.weights = new Float32Array(64);
    this.width = Math.min(4096, largest);
    this.rows = Math.ceil(n / this.width);
    const tints = merge(asset.tints, asset.fades, n * asset.rank);
    const tracks = [asset.moves, asset.turns, asset.logScales, tints] as const;
    const defines = ["MOVE", "TURN", "SCALE", "TINT"].filter((_, i) => tracks[i]);
    if (asset.bands) defines.push("BAND");
    this.evaluate = program(gl, EVALUATE_VERTEX, evaluateFragment(defines.map((name) => `#define ${name}`).join("\n")));
    this.paint = program(gl, DRAW_VERTEX, DRAW_FRAGMENT);
    this.evaluateAt = locations(gl, this.evaluate);
    this.paintAt = locations(gl, this.paint);

    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    const texels = asset.bands ? 7 : 4;
    this.inputs = [this.upload(base(asset, texels), largest), ...tracks.map((track, i) => this.upload(track && four(track, i === 0 || i === 2 ? 3 : 4), largest))];
    this.states = [0, 1].map(() => texture(gl, gl.RGBA32UI, this.width, this.rows, gl.RGBA_INTEGER, gl.UNSIGNED_INT, null));
    this.frame = gl.createFramebuffer()!;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    this.states.forEach((state, i) => gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0 + i, gl.TEXTURE_2D, state, 0));
    gl.drawBuffers([gl.COLOR_ATTACHMENT0, gl.COLOR_ATTACHMENT1]);
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) throw new Error("this graphics device cannot hold it");
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);

    this.empty = gl.createVertexArray()!;
    this.quads = gl.createVertexArray()!;
    gl.bindVertexArray(this.quads);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    const corners = Uint16Array.from({ length: 6 * BATCH }, (_, i) => 4 * Math.floor(i / 6) + [0, 1, 2, 2, 1, 3][i % 6]!);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, corners, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    this.sorted = texture(gl, gl.R32UI, this.width, this.rows, gl.RED_INTEGER, gl.UNSIGNED_INT, null);

    gl.useProgram(this.evaluate);
    ["base", "moves", "turns", "logScales", "tints"].forEach((name, i) => gl.uniform1i(this.evaluateAt[name] ?? null, i));
    for (const [name, value] of Object.entries({ count: n, rank: asset.rank, width: this.width, texels })) gl.uniform1i(this.evaluateAt[name] ?? null, value);
    const u = asset.units;
    for (const [name, value] of Object.entries({ moveUnit: u.position, turnUnit: u.turn, scaleUnit: u.log_scale, tintUnit: u.color, fadeUnit: u.opacity }))
      gl.uniform1f(this.evaluateAt[name] ?? null, value);
    gl.useProgram(this.paint);
    gl.uniform1i(this.paintAt.places ?? null, 0);
    gl.uniform1i(this.paintAt.shapes ?? null, 1);
    gl.uniform1i(this.paintAt.order ?? null, 2);
    gl.uniform1i(this.paintAt.width ?? null, this.width);
    gl.uniform1i(this.paintAt.batch ?? null, BATCH);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.DITHER);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    // Before asking, errors of the set-up (out of memory) must have happened.
    if (gl.getError() !== gl.NO_ERROR) throw new Error("it is too large for this graphics device");
  }

  /** The order to draw in, far to near. */
  order(order: Uint32Array): void {
    const { gl, width } = this, whole = Math.floor(order.length / width), rest = order.length - whole * width;
    bind(gl, [this.sorted]);
    const put = (row: number, columns: number, rows: number): void =>
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, row, columns, rows, gl.RED_INTEGER, gl.UNSIGNED_INT, order, row * width);
    if (whole) put(0, width, whole);
    if (rest) put(whole, rest, 1);
    this.ordered = order.length;
  }

  /** Draws into the current canvas, transparent where nothing is. */
  draw(time: number, view: View): void {
    const gl = this.gl, { width, height } = gl.canvas;
    this.state(time, view);
    gl.useProgram(this.paint);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    bind(gl, [...this.states, this.sorted]);
    gl.uniform1i(this.paintAt.count ?? null, this.ordered);
    gl.uniformMatrix4fv(this.paintAt.view ?? null, false, view.matrix);
    const focal = Math.min(width, height) / (2 * Math.tan(view.fov / 2));
    gl.uniform2f(this.paintAt.focal ?? null, focal, focal);
    gl.uniform2f(this.paintAt.viewport ?? null, width, height);
    gl.enable(gl.BLEND);
    gl.bindVertexArray(this.quads);
    gl.drawElementsInstanced(gl.TRIANGLES, 6 * BATCH, gl.UNSIGNED_SHORT, 0, Math.ceil(this.ordered / BATCH));
    gl.disable(gl.BLEND);
  }

  /** Bytes that the asset takes on the graphics device. */
  get memory(): number {
    const { count: n, rank, bands, moves, turns, logScales, tints, fades } = this.asset;
    const tracks = [moves, turns, logScales, tints ?? fades].filter(Boolean).length;
    return n * (16 * (bands ? 7 : 4) + 8 * rank * tracks + 32 + 4);
  }

  private state(time: number, view: View): void {
    const gl = this.gl, key = this.asset.bands ? [time, ...view.eye].join() : String(time);
    if (key === this.evaluated) return;
    this.evaluated = key;
    weightsAt(this.asset, time, this.weights);
    gl.useProgram(this.evaluate);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    gl.viewport(0, 0, this.width, this.rows);
    bind(gl, this.inputs);
    gl.uniform1fv(this.evaluateAt["weights[0]"] ?? null, this.weights);
    gl.uniform3fv(this.evaluateAt.eye ?? null, view.eye);
    gl.bindVertexArray(this.empty);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  }

  private upload(values: Float32Array | Int16Array | null, largest: number): WebGLTexture {
    const gl = this.gl, width = this.width, rows = Math.max(1, Math.ceil((values?.length ?? 0) / 4 / width));
    if (rows > largest) throw new Error("it is too large for this graphics device");
    if (values instanceof Float32Array) return texture(gl, gl.RGBA32F, width, rows, gl.RGBA, gl.FLOAT, padded(values, 4 * width * rows));
    return texture(gl, gl.RGBA16I, width, rows, gl.RGBA_INTEGER, gl.SHORT, padded(values ?? new Int16Array(0), 4 * width * rows));
  }
}

function padded<T extends Float32Array | Int16Array>(values: T, length: number): T {
  const out = new (values.constructor as new (length: number) => T)(length);
  out.set(values);
  return out;
}

function four(values: Int16Array, width: number): Int16Array {
  if (width === 4) return values;
  const out = new Int16Array(4 * values.length / 3);
  for (let i = 0, o = 0; i < values.length; i += 3, o += 4) { out[o] = values[i]!; out[o + 1] = values[i + 1]!; out[o + 2] = values[i + 2]!; }
  return out;
}

/** Colour and opacity tracks share a texture: rgb and alpha. */
function merge(tints: Int16Array | null, fades: Int16Array | null, items: number): Int16Array | null {
  if (!tints && !fades) return null;
  const out = new Int16Array(4 * items);
  for (let i = 0; i < items; i++) {
    if (tints) for (let c = 0; c < 3; c++) out[4 * i + c] = tints[3 * i + c]!;
    if (fades) out[4 * i + 3] = fades[i]!;
  }
  return out;
}

function base(asset: Asset, texels: number): Float32Array {
  const out = new Float32Array(4 * texels * asset.count);
  for (let i = 0; i < asset.count; i++) {
    const o = 4 * texels * i;
    for (let c = 0; c < 3; c++) {
      out[o + c] = asset.positions[3 * i + c]!;
      out[o + 8 + c] = asset.scales[3 * i + c]!;
      out[o + 12 + c] = asset.colors[3 * i + c]!;
      if (asset.bands) for (let m = 0; m < 3; m++) out[o + 16 + 4 * m + c] = asset.bands[9 * i + 3 * m + c]!;
    }
    out[o + 3] = asset.opacities[i]!;
    for (let c = 0; c < 4; c++) out[o + 4 + c] = asset.rotations[4 * i + c]!;
  }
  return out;
}

function bind(gl: WebGL2RenderingContext, textures: WebGLTexture[]): void {
  textures.forEach((item, unit) => { gl.activeTexture(gl.TEXTURE0 + unit); gl.bindTexture(gl.TEXTURE_2D, item); });
}

function texture(gl: WebGL2RenderingContext, internal: number, width: number, height: number, format: number, type: number, data: ArrayBufferView | null): WebGLTexture {
  const out = gl.createTexture()!;
  gl.activeTexture(gl.TEXTURE0);
  gl.bindTexture(gl.TEXTURE_2D, out);
  for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
  for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
  gl.texImage2D(gl.TEXTURE_2D, 0, internal, width, height, 0, format, type, data);
  return out;
}

function program(gl: WebGL2RenderingContext, vertex: string, fragment: string): WebGLProgram {
  const out = gl.createProgram()!;
  for (const [type, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]] as const) {
    const shader = gl.createShader(type)!;
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) throw new Error(`shader: ${gl.getShaderInfoLog(shader)}`);
    gl.attachShader(out, shader);
  }
  gl.linkProgram(out);
  if (!gl.getProgramParameter(out, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(`shader: ${gl.getProgramInfoLog(out)}`);
  return out;
}

function locations(gl: WebGL2RenderingContext, linked: WebGLProgram): Locations {
  const out: Locations = {};
  for (let i = 0; i < (gl.getProgramParameter(linked, gl.ACTIVE_UNIFORMS) as number); i++) {
    const name = gl.getActiveUniform(linked, i)!.name;
    out[name] = gl.getUniformLocation(linked, name);
  }
  return out;
}
