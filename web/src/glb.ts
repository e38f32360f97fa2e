// Reads the compact 4D asset (docs/format.md): a gzipped binary glTF of splats whose morph targets are its motion.

export interface Asset {
  count: number;
  rank: number;
  bytes: number;
  /** World units, z up: x, y, z of each splat at time 0. */
  positions: Float32Array;
  /** xyzw. */
  rotations: Float32Array;
  scales: Float32Array;
  opacities: Float32Array;
  /** Base colour, 0 to 1. */
  colors: Float32Array;
  /** Degree-1 coefficients, 9 a splat (three of rgb), or null. */
  bands: Float32Array | null;
  /** What the targets add, whole numbers times `units`: rank x count x width; null where nothing changes. */
  moves: Int16Array | null;
  turns: Int16Array | null;
  logScales: Int16Array | null;
  tints: Int16Array | null;
  fades: Int16Array | null;
  units: { position: number; turn: number; log_scale: number; color: number; opacity: number };
  times: Float32Array;
  /** Knot after knot: slope, value, slope of every target's weight. */
  spline: Float32Array;
  seconds: number;
  loop: boolean;
  home: { target: [number, number, number]; radius: number; fov: number };
}

type Json = Record<string, any>;
const WIDTH: Record<string, number> = { SCALAR: 1, VEC3: 3, VEC4: 4 };
const SPLAT = "KHR_gaussian_splatting:";
const SH_C0 = 0.28209479177387814;
const MAX_COUNT = 2_000_000, MAX_RANK = 64, MAX_BYTES = 2 ** 30;

class Damaged extends Error {}

function check(good: unknown, what: string): asserts good {
  if (!good) throw new Damaged(`it is damaged (${what})`);
}

/** The bytes of a base64 text that holds gzip. */
export async function unpack(text: string): Promise<Uint8Array> {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old: it lacks DecompressionStream");
  try {
    const binary = atob(text);
    const packed = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) packed[i] = binary.charCodeAt(i);
    const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
    const parts: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      size += value.length;
      if (size > MAX_BYTES) throw new Error("too large");
    }
    const out = new Uint8Array(size);
    let at = 0;
    for (const part of parts) { out.set(part, at); at += part.length; }
    return out;
  } catch {
    throw new Damaged("it is damaged (its packed data cannot be read)");
  }
}

export function parse(data: Uint8Array): Asset {
  const { document, binary } = chunks(data);
  try {
    return assemble(document, binary, data.length);
  } catch (error) {
    if (error instanceof Damaged) throw error;
    throw new Damaged(`it is damaged (${error instanceof Error ? error.message : error})`);
  }
}

function chunks(data: Uint8Array): { document: Json; binary: Uint8Array } {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  check(data.length >= 28 && view.getUint32(0, true) === 0x46546c67 && view.getUint32(8, true) === data.length, "no glTF");
  const size = view.getUint32(12, true);
  check(28 + size <= data.length, "JSON chunk");
  const length = view.getUint32(20 + size, true);
  check(28 + size + length === data.length, "binary chunk");
  let document: Json;
  try {
    document = JSON.parse(new TextDecoder().decode(data.subarray(20, 20 + size)));
  } catch {
    throw new Damaged("it is damaged (JSON)");
  }
  return { document, binary: data.subarray(28 + size) };
}

function assemble(document: Json, binary: Uint8Array, bytes: number): Asset {
  const node = document.nodes[0], mesh = document.meshes[0], primitive = mesh.primitives[0];
  const extras = mesh.extras.orbit4d, attributes = primitive.attributes;
  const targets: Json[] = primitive.targets ?? [];
  check(extras.version === 1 || extras.version === 2, `format version ${extras.version}`);
  const n: number = document.accessors[attributes.POSITION].count, rank = targets.length;
  check(Number.isInteger(n) && n > 0 && n <= MAX_COUNT && rank <= MAX_RANK, "sizes");
  // What parsing may take is decided by the data that are there: a target takes four bytes a splat at least.
  check(4 * n * (rank + 1) <= binary.length, "sizes");

  const view = new DataView(binary.buffer, binary.byteOffset, binary.byteLength);
  const largest = (accessor: Json): number =>
    accessor.normalized ? { 5120: 127, 5121: 255, 5122: 32767, 5123: 65535 }[accessor.componentType as number] ?? 1 : 1;
  function read(index: unknown, count: number, width: number, put: (at: number, value: number) => void, raw = false): void {
    const accessor = document.accessors[index as number];
    check(accessor && accessor.count === count && WIDTH[accessor.type] === width && !accessor.sparse && !accessor.byteOffset, "accessor");
    if (accessor.bufferView === undefined) return;
    const type: number = accessor.componentType, place = document.bufferViews[accessor.bufferView];
    const size = { 5120: 1, 5121: 1, 5122: 2, 5123: 2, 5126: 4 }[type];
    check(size !== undefined && place, "accessor");
    const stride: number = place.byteStride ?? size * width, start: number = place.byteOffset ?? 0;
    check(stride >= size * width && start >= 0 && start + (count - 1) * stride + size * width <= binary.length, "accessor range");
    const factor = raw ? 1 : largest(accessor);
    for (let i = 0; i < count; i++) for (let c = 0; c < width; c++) {
      const at = start + i * stride + c * size;
      const value = type === 5120 ? view.getInt8(at) : type === 5121 ? view.getUint8(at) : type === 5122 ? view.getInt16(at, true)
        : type === 5123 ? view.getUint16(at, true) : view.getFloat32(at, true);
      check(Number.isFinite(value), "not finite");
      put(i * width + c, value / factor);
    }
  }
  const floats = (index: unknown, width: number, count = n): Float32Array => {
    const out = new Float32Array(count * width);
    read(index, count, width, (at, value) => { out[at] = value; });
    return out;
  };
  const changes = (name: string, width: number): Int16Array | null => {
    if (!targets.some((target) => name in target)) return null;
    const out = new Int16Array(rank * n * width);
    targets.forEach((target, r) => {
      if (!(name in target)) return;
      const accessor = document.accessors[target[name]];
      // Anything else would be cut to 16 bits without a word; zeros without bytes may be of any type.
      check(accessor && (accessor.bufferView === undefined || [5120, 5122].includes(accessor.componentType)), "target type");
      read(target[name], n, width, (at, value) => { out[r * n * width + at] = value; }, true);
    });
    return out;
  };

  const size: number = node.scale[0], [tx, ty, tz] = node.translation as [number, number, number];
  check(size > 0 && Number.isFinite(size + tx + ty + tz), "node");
  const positions = floats(attributes.POSITION, 3);
  for (let i = 0; i < 3 * n; i += 3) {
    positions[i] = positions[i]! * size + tx;
    positions[i + 1] = positions[i + 1]! * size - tz;
    positions[i + 2] = positions[i + 2]! * size + ty;
  }
  const colors = floats(attributes[SPLAT + "SH_DEGREE_0_COEF_0"], 3).map((v) => 0.5 + SH_C0 * v);
  let bands: Float32Array | null = null;
  if (SPLAT + "SH_DEGREE_1_COEF_0" in attributes) {
    bands = new Float32Array(9 * n);
    for (let m = 0; m < 3; m++) {
      const band = floats(attributes[SPLAT + "SH_DEGREE_1_COEF_" + m], 3);
      for (let i = 0; i < n; i++) for (let c = 0; c < 3; c++) bands[9 * i + 3 * m + c] = band[3 * i + c]!;
    }
  }
  let times: Float32Array = new Float32Array(1), spline: Float32Array = new Float32Array(0);
  if (rank) {
    const sampler = document.animations[0].samplers[0], knots: number = document.accessors[sampler.input].count;
    check(Number.isInteger(knots) && knots >= 2 && knots <= 2048 && sampler.interpolation === "CUBICSPLINE", "animation");
    times = floats(sampler.input, 1, knots);
    // The targets stay whole numbers: what makes them normalised goes to their weights.
    const factors = targets.map((target) => {
      const filled = Object.values(target).map((i) => document.accessors[i as number]).filter((a) => a?.bufferView !== undefined);
      const first = filled.length ? largest(filled[0]) : 1;
      check(filled.every((a) => largest(a) === first), "targets");
      return first;
    });
    spline = floats(sampler.output, 1, 3 * knots * rank).map((v, i) => v / factors[i % rank]!);
    check(times[0] === 0 && times.every((t, i) => !i || t > times[i - 1]!), "times");
  }
  const unit = (name: string): number => {
    const value = extras.units[name] ?? 0;
    check(Number.isFinite(value), "units");
    return value;
  };
  const home = extras.home;
  check([...home.target, home.radius, home.fov].every(Number.isFinite) && home.target.length === 3 && home.radius > 0, "home");
  return {
    count: n, rank, bytes, positions, colors, bands,
    rotations: floats(attributes[SPLAT + "ROTATION"], 4),
    scales: floats(attributes[SPLAT + "SCALE"], 3).map((v) => v * size),
    opacities: floats(attributes[SPLAT + "OPACITY"], 1),
    moves: changes("POSITION", 3), turns: changes("_TURN", 4), logScales: changes("_LOG_SCALE", 3),
    tints: changes("_COLOR", 3), fades: changes("_OPACITY", 1),
    units: { position: size, turn: unit("turn"), log_scale: unit("log_scale"), color: unit("color"), opacity: unit("opacity") },
    times, spline, seconds: rank ? times[times.length - 1]! : 1,
    loop: extras.loop !== false, home,
  };
}

/** The targets' weights at `time` in [0, 1], by the cubic spline that glTF prescribes. */
export function weightsAt(asset: Asset, time: number, out: Float32Array): Float32Array {
  const { rank, times, spline } = asset;
  if (!rank) return out;
  const x = Math.min(Math.max(time, 0), 1) * asset.seconds;
  let i = 0;
  while (i < times.length - 2 && times[i + 1]! <= x) i++;
  const span = times[i + 1]! - times[i]!, u = (x - times[i]!) / span, u2 = u * u, u3 = u2 * u;
  const a = 2 * u3 - 3 * u2 + 1, b = (u3 - 2 * u2 + u) * span, c = 1 - a, d = (u3 - u2) * span;
  const left = 3 * rank * i, right = left + 3 * rank;
  for (let r = 0; r < rank; r++)
    out[r] = a * spline[left + rank + r]! + b * spline[left + 2 * rank + r]! + c * spline[right + rank + r]! + d * spline[right + r]!;
  return out;
}
