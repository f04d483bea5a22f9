// A line of a few dozen values without axes. Holes stay holes.
import type { JSX } from "preact";
import type { Line } from "../core/history";

const WIDTH = 72;
const HEIGHT = 22;
// Two points are a slope that says nothing.
const LEAST = 3;

export function sparkPath(values: Line, width = WIDTH, height = HEIGHT): string {
  const known = values.filter((value): value is number => value !== null);
  if (known.length < LEAST) {
    return "";
  }
  const low = Math.min(...known);
  const high = Math.max(...known);
  const y = (value: number): number => (high === low ? height / 2 : 1.5 + (1 - (value - low) / (high - low)) * (height - 3));
  const x = (index: number): number => (index / Math.max(1, values.length - 1)) * width;
  let path = "";
  let drawing = false;
  values.forEach((value, index) => {
    if (value === null) {
      drawing = false;
      return;
    }
    path += `${drawing ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    drawing = true;
  });
  return path;
}

export function Spark({ values }: { readonly values: Line | undefined }): JSX.Element | null {
  const path = values === undefined ? "" : sparkPath(values);
  return path === "" ? null : (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path d={path} fill="none" stroke="currentColor" stroke-width="1.4" stroke-linejoin="round" vector-effect="non-scaling-stroke" />
    </svg>
  );
}
