// The newest snapshot, and the few numbers of it that the first page shows.
import { computed, signal } from "@preact/signals";
import { durationMs } from "../core/time";
import type { MetricPoint, MetricsSnapshot, WindowMetrics } from "../core/wire";

export const TILE_WINDOW_MS = 300_000;

export class MetricsStore {
  readonly snapshot = signal<MetricsSnapshot | undefined>(undefined);
  // The whole five minutes before the last five; null when there is none, undefined until that is known.
  readonly before = signal<MetricPoint | null | undefined>(undefined);

  readonly fleet = computed(() => this.snapshot.value?.series.find((series) => series.dimension === "METRIC_DIMENSION_FLEET"));
  readonly window = computed((): WindowMetrics | undefined =>
    this.fleet.value?.windows.find((each) => durationMs(each.window) === TILE_WINDOW_MS),
  );

  apply(snapshot: MetricsSnapshot): void {
    this.snapshot.value = snapshot;
  }
}
