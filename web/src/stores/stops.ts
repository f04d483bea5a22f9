// Emergency stops that are not over: every page shows them.
import { computed, signal } from "@preact/signals";
import { timestampMs } from "../core/time";
import type { EmergencyStop } from "../core/wire";

const COURSE = ["EMERGENCY_STOP_STATE_ACTIVE", "EMERGENCY_STOP_STATE_RELEASING", "EMERGENCY_STOP_STATE_RELEASED"];
const MOST_OVER = 1_000;

// A stop goes from stage to stage, and is let go once.
function isFurther(stop: EmergencyStop, known: EmergencyStop): boolean {
  const by = COURSE.indexOf(stop.state) - COURSE.indexOf(known.state);
  return by > 0 || (by === 0 && (timestampMs(stop.stageTime) ?? 0) > (timestampMs(known.stageTime) ?? 0));
}

export class StopStore {
  #over: readonly string[] = [];
  readonly #byId = signal<ReadonlyMap<string, EmergencyStop>>(new Map());

  // Newest first.
  readonly active = computed(() =>
    [...this.#byId.value.values()].sort((a, b) => (timestampMs(b.startTime) ?? 0) - (timestampMs(a.startTime) ?? 0)),
  );

  replace(stops: readonly EmergencyStop[]): void {
    this.#byId.value = new Map(stops.map((stop) => [stop.id, stop]));
  }

  // From the live channel, which is in order.
  apply(stop: EmergencyStop): void {
    const all = new Map(this.#byId.peek()).set(stop.id, stop);
    if (stop.state === "EMERGENCY_STOP_STATE_RELEASED") {
      all.delete(stop.id);
      this.#over = [...this.#over, stop.id].slice(-MOST_OVER);
    }
    this.#byId.value = all;
  }

  // From an answer, which may be late: what came of the act may be known already.
  learn(stop: EmergencyStop | undefined): void {
    if (stop !== undefined && !this.#over.includes(stop.id)) {
      const known = this.#byId.peek().get(stop.id);
      if (known === undefined || isFurther(stop, known)) {
        this.apply(stop);
      }
    }
  }
}
