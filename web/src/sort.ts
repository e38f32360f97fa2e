// Orders splats from far to near by a counting sort over 16 bits of depth.

export interface SortInput {
  count: number;
  positions: Float32Array;
  /** Whole numbers, target after target, or null for a scene at rest. */
  moves: Int16Array | null;
}

export type Sorter = (weights: Float32Array, unit: number, forward: readonly number[]) => Uint32Array;

export function makeSorter({ count, positions, moves }: SortInput): Sorter {
  const depth = new Float32Array(count), keys = new Uint16Array(count), start = new Uint32Array(65537);
  return (weights, unit, forward) => {
    const [x, y, z] = forward as [number, number, number];
    for (let i = 0, p = 0; i < count; i++, p += 3) depth[i] = x * positions[p]! + y * positions[p + 1]! + z * positions[p + 2]!;
    if (moves) for (let r = 0; r < weights.length; r++) {
      const w = weights[r]! * unit, wx = w * x, wy = w * y, wz = w * z;
      if (w) for (let i = 0, p = 3 * r * count; i < count; i++, p += 3) depth[i]! += wx * moves[p]! + wy * moves[p + 1]! + wz * moves[p + 2]!;
    }
    let near = Infinity, far = -Infinity;
    for (let i = 0; i < count; i++) { const d = depth[i]!; if (d < near) near = d; if (d > far) far = d; }
    const scale = 65535 / Math.max(far - near, 1e-9), order = new Uint32Array(count);
    start.fill(0);
    for (let i = 0; i < count; i++) { const k = ((far - depth[i]!) * scale) | 0; keys[i] = k; start[k + 1]!++; }
    for (let k = 0; k < 65536; k++) start[k + 1]! += start[k]!;
    for (let i = 0; i < count; i++) order[start[keys[i]!]!++] = i;
    return order;
  };
}
