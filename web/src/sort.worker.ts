import { makeSorter, type SortInput, type Sorter } from "./sort";

export interface SortRequest { weights: Float32Array; unit: number; forward: number[]; generation: number }
export interface SortAnswer { order: Uint32Array; generation: number; milliseconds: number }

let sorter: Sorter | null = null;
self.onmessage = (event: MessageEvent<SortInput | SortRequest>) => {
  if ("count" in event.data) { sorter = makeSorter(event.data); return; }
  if (!sorter) return;
  const started = performance.now(), { weights, unit, forward, generation } = event.data;
  const order = sorter(weights, unit, forward);
  const answer: SortAnswer = { order, generation, milliseconds: performance.now() - started };
  self.postMessage(answer, { transfer: [order.buffer] });
};
