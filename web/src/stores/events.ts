// The newest events, bounded. Rows are numbered from the first that ever came, so that a list can keep its place while old ones go.
import { computed, signal } from "@preact/signals";
import { type Narrative, narrate } from "../core/narrative";
import { timestampMs } from "../core/time";
import type { Event } from "../gen/pilothouse/v1/events_pb";

export interface EventRow {
  readonly kind: "event";
  readonly key: string;
  readonly event: Event;
  readonly at: number;
  readonly narrative: Narrative;
}

export interface GapRow {
  readonly kind: "gap";
  readonly key: string;
  readonly words: string;
}

export type StreamRow = EventRow | GapRow;

export interface EventView {
  // The number of the first row that is kept.
  readonly base: number;
  readonly rows: readonly StreamRow[];
}

export const MOST_ROWS = 2_000;
const SLACK = 200;

export class EventStore {
  #base = 0;
  #rows: StreamRow[] = [];
  #keys = new Set<string>();
  readonly #version = signal(0);
  readonly arrived = signal(false);

  readonly view = computed((): EventView => {
    void this.#version.value;
    return { base: this.#base, rows: this.#rows };
  });

  replace(events: readonly Event[]): void {
    const known = this.#rows.length > 0;
    const overlap = events.some((event) => this.#keys.has(keyOf(event)));
    if (known && !overlap && events.length > 0) {
      this.#push({ kind: "gap", key: `gap-${this.#base + this.#rows.length}`, words: "Some events are not shown: the connection was lost for too long" });
    }
    this.append(events);
  }

  append(events: readonly Event[]): void {
    for (const event of events) {
      const key = keyOf(event);
      if (!this.#keys.has(key)) {
        this.#keys.add(key);
        this.#push({ kind: "event", key, event, at: timestampMs(event.occurTime) ?? timestampMs(event.receiveTime) ?? 0, narrative: narrate(event) });
      }
    }
    this.#trim();
    this.arrived.value = true;
    this.#version.value++;
  }

  gap(words: string): void {
    this.#push({ kind: "gap", key: `gap-${this.#base + this.#rows.length}`, words });
    this.#trim();
    this.#version.value++;
  }

  #push(row: StreamRow): void {
    this.#rows.push(row);
  }

  // In lumps, because moving two thousand rows for each new one would be most of the work.
  #trim(): void {
    const over = this.#rows.length - MOST_ROWS;
    if (over > SLACK || over >= MOST_ROWS) {
      const removed = this.#rows.slice(0, over);
      this.#rows = this.#rows.slice(over);
      this.#base += over;
      for (const row of removed) {
        this.#keys.delete(row.key);
      }
    }
  }
}

function keyOf(event: Event): string {
  return event.id || event.cursor;
}
