// A trend compares the five minutes up to now with a whole five-minute step of history that ended before them, so that no event
// is on both sides and percentiles come from a histogram, not from an average of percentiles.
import { timestampMs } from "./time";
import type { MetricPoint } from "./wire";

export const TREND_WINDOW_MS = 300_000;

export function pointBefore(points: readonly MetricPoint[], stepMs: number, now: number): MetricPoint | undefined {
  return points.findLast((point) => {
    const end = (timestampMs(point.startTime) ?? Number.POSITIVE_INFINITY) + stepMs;
    return end <= now - TREND_WINDOW_MS + 5_000 && end > now - 3 * TREND_WINDOW_MS;
  });
}

export type Direction = "better" | "worse" | "neutral";

// Whether a change is for the better. Changes below the noise are neither.
export function judge(change: number, better: "up" | "down" | "none", noise: number): Direction {
  if (better === "none" || Math.abs(change) <= noise) {
    return "neutral";
  }
  return change > 0 === (better === "up") ? "better" : "worse";
}
