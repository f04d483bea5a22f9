// The whole trace in a strip: for each cell how many spans are there, and whether one of them failed. Its cost is that of the spans plus that of the
// cells, however long spans are. Pure.
import type { Span as Range } from "../core/history";
import type { Tree } from "./tree";

export interface Density {
  readonly width: number;
  readonly height: number;
  readonly count: Int32Array;
  readonly failed: Int32Array;
}

export function density(tree: Tree, full: Range, now: number, width: number, height: number): Density {
  const count = new Int32Array(width * height);
  const failed = new Int32Array(width * height);
  const size = tree.spans.length;
  const scale = width / (full.to - full.from || 1);
  const cell = (ms: number): number => Math.max(0, Math.min(width - 1, Math.floor((ms - full.from) * scale)));
  for (let at = 0; at < size; at++) {
    const line = Math.floor((at * height) / size) * width;
    const from = cell(tree.start[at] as number);
    const to = cell(Math.min(tree.end[at] as number, now)) + 1;
    const mark = (of: Int32Array): void => {
      of[line + from] = (of[line + from] as number) + 1;
      if (to < width) {
        of[line + to] = (of[line + to] as number) - 1;
      }
    };
    mark(count);
    if (tree.spans[at]?.state === "WORK_STATE_FAILED") {
      mark(failed);
    }
  }
  for (const of of [count, failed]) {
    for (let at = 0; at < of.length; at++) {
      of[at] = (of[at] as number) + (at % width === 0 ? 0 : (of[at - 1] as number));
    }
  }
  return { width, height, count, failed };
}
