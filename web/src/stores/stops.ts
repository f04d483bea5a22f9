// Emergency stops that are not over: every page shows them.
import { computed, signal } from "@preact/signals";
import { timestampMs } from "../core/time";
import type { EmergencyStop } from "../core/wire";

export class StopStore {
  readonly #byId = signal<ReadonlyMap<string, EmergencyStop>>(new Map());

  // Newest first.
  readonly active = computed(() =>
    [...this.#byId.value.values()].sort((a, b) => (timestampMs(b.startTime) ?? 0) - (timestampMs(a.startTime) ?? 0)),
  );

  replace(stops: readonly EmergencyStop[]): void {
    this.#byId.value = new Map(stops.map((stop) => [stop.id, stop]));
  }

  apply(stop: EmergencyStop | undefined): void {
    if (stop !== undefined) {
      const all = new Map(this.#byId.peek()).set(stop.id, stop);
      if (stop.state === "EMERGENCY_STOP_STATE_RELEASED") {
        all.delete(stop.id);
      }
      this.#byId.value = all;
    }
  }
}
