// Spans as a tree in columns: fifty thousand are put in order, folded and looked up without an object for each. Times are milliseconds since the
// trace began. Pure.
import { durationMs } from "../core/time";
import type { Span } from "./wire";

export interface Tree {
  // Each after the one above it, siblings by their beginning.
  readonly spans: readonly Span[];
  readonly start: Float64Array;
  // Infinite while it lasts.
  readonly end: Float64Array;
  readonly depth: Int32Array;
  // The one above it; -1 where there is none.
  readonly parent: Int32Array;
  // One behind the last of all that is under it.
  readonly last: Int32Array;
  readonly at: ReadonlyMap<string, number>;
}

export function arrange(given: Iterable<Span>): Tree {
  const all = [...given];
  const size = all.length;
  const place = new Map(all.map((span, index) => [span.spanId, index] as const));
  const starts = Float64Array.from(all, (span) => durationMs(span.startOffset) ?? 0);
  const order = Int32Array.from(all.keys()).sort(
    (a, b) => (starts[a] as number) - (starts[b] as number) || ((all[a] as Span).spanId < (all[b] as Span).spanId ? -1 : 1),
  );
  const above = Int32Array.from(all, (span) => (span.parentSpanId === "" ? -1 : (place.get(span.parentSpanId) ?? -1)));
  // Children as chains, made from the last to the first, so that each begins with the earliest.
  const child = new Int32Array(size).fill(-1);
  const sibling = new Int32Array(size).fill(-1);
  for (let at = size - 1; at >= 0; at--) {
    const each = order[at] as number;
    const up = above[each] as number;
    if (up >= 0) {
      sibling[each] = child[up] as number;
      child[up] = each;
    }
  }
  const walked = walk(order, above, child, sibling);
  const spans = Array.from(walked.order, (index) => all[index] as Span);
  return {
    ...{ spans, depth: walked.depth, parent: walked.parent, last: walked.last },
    start: Float64Array.from(walked.order, (index) => starts[index] as number),
    end: Float64Array.from(spans, (span) => durationMs(span.endOffset) ?? Number.POSITIVE_INFINITY),
    at: new Map(spans.map((span, index) => [span.spanId, index])),
  };
}

type Walked = Pick<Tree, "depth" | "parent" | "last"> & { readonly order: Int32Array };

// Without recursion, since a trace may be as deep as it is long. What no root leads to, because spans name each other, is a root itself.
function walk(order: Int32Array, above: Int32Array, child: Int32Array, sibling: Int32Array): Walked {
  const size = order.length;
  const walked: Walked = {
    order: new Int32Array(size),
    depth: new Int32Array(size),
    parent: new Int32Array(size),
    last: new Int32Array(size),
  };
  const row = new Int32Array(size).fill(-1);
  let count = 0;
  const from = (root: number): void => {
    let each = root;
    let up = -1;
    for (;;) {
      if (each >= 0 && row[each] === -1) {
        walked.order[count] = each;
        walked.parent[count] = up;
        walked.depth[count] = up < 0 ? 0 : (walked.depth[up] as number) + 1;
        up = row[each] = count++;
        each = child[each] as number;
      } else if (up < 0) {
        return;
      } else {
        // Nothing more under this one: on with its sibling, under what is above it.
        walked.last[up] = count;
        const done = walked.order[up] as number;
        up = walked.parent[up] as number;
        each = up < 0 ? -1 : (sibling[done] as number);
      }
    }
  };
  order.forEach((each) => (above[each] === -1 ? from(each) : undefined));
  order.forEach((each) => (row[each] === -1 ? from(each) : undefined));
  return walked;
}

// The spans that have a row: all but those under what is folded.
export function visibleRows({ spans, last }: Tree, folded: ReadonlySet<string>): Int32Array {
  const rows = new Int32Array(spans.length);
  let count = 0;
  for (let at = 0; at < spans.length; at = folded.size > 0 && folded.has((spans[at] as Span).spanId) ? (last[at] as number) : at + 1) {
    rows[count++] = at;
  }
  return rows.subarray(0, count);
}

// For each span its row, or that of what it is folded into.
export function rowOfEach({ spans }: Tree, rows: Int32Array): Int32Array {
  const found = new Int32Array(spans.length);
  rows.forEach((at, row) => found.fill(row, at, rows[row + 1] ?? spans.length));
  return found;
}

// The span that a link means: one that says no attempt means the newest, and OpenTelemetry's have another name where theirs is taken.
export function spanNamed({ spans, at }: Tree, id: string): string {
  const attempt = (span: Span): boolean => span.spanId.startsWith(`${id}:`) && /^\d+(:\d+)?$/.test(span.spanId.slice(id.length + 1));
  return id === "" || at.has(id) ? id : at.has(`span:${id}`) ? `span:${id}` : (spans.findLast(attempt)?.spanId ?? id);
}

export const hasChildren = ({ last }: Tree, at: number): boolean => (last[at] ?? 0) > at + 1;

// What has to be unfolded so that it is seen.
export function pathTo({ spans, parent }: Tree, at: number): string[] {
  const path: string[] = [];
  for (let up = parent[at] ?? -1; up >= 0; up = parent[up] ?? -1) {
    path.push((spans[up] as Span).spanId);
  }
  return path;
}
