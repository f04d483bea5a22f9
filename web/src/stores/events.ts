// The newest events, bounded. Rows are numbered from the first that ever came, so that a list can keep its place while old ones go.
import { computed, signal } from "@preact/signals";
import { type Narrative, narrate } from "../core/narrative";
import { timestampMs } from "../core/time";
import type { Event } from "../core/wire";

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

// Everything; without signs of life; only what needs a look. Each is bounded by itself, so that heartbeats do not push failures out.
export type EventFilter = "all" | "work" | "trouble";

export const MOST_ROWS = 2_000;
const SLACK = 200;

class Rows {
  base = 0;
  rows: StreamRow[] = [];

  // In lumps, because moving two thousand rows for each new one would be most of the work.
  push(row: StreamRow): readonly StreamRow[] {
    this.rows.push(row);
    if (this.rows.length <= MOST_ROWS + SLACK) {
      return [];
    }
    const removed = this.rows.slice(0, SLACK);
    this.rows = this.rows.slice(SLACK);
    this.base += SLACK;
    return removed;
  }
}

export class EventStore {
  readonly #lists: Readonly<Record<EventFilter, Rows>> = { all: new Rows(), work: new Rows(), trouble: new Rows() };
  readonly #keys = new Set<string>();
  readonly #version = signal(0);
  #gaps = 0;
  readonly arrived = signal(false);
  readonly filter = signal<EventFilter>("work");

  readonly view = computed((): EventView => {
    void this.#version.value;
    const { base, rows } = this.#lists[this.filter.value];
    return { base, rows };
  });

  replace(events: readonly Event[]): void {
    const known = this.#keys.size > 0;
    if (known && events.length > 0 && !events.some((event) => this.#keys.has(keyOf(event)))) {
      this.#gap("Some events are not shown: the connection was lost for too long");
    }
    this.append(events);
  }

  append(events: readonly Event[]): void {
    for (const event of events) {
      const key = keyOf(event);
      if (!this.#keys.has(key)) {
        this.#keys.add(key);
        this.#push({
          kind: "event",
          key,
          event,
          at: timestampMs(event.occurTime) ?? timestampMs(event.receiveTime) ?? 0,
          narrative: narrate(event),
        });
      }
    }
    this.arrived.value = true;
    this.#version.value++;
  }

  gap(words: string): void {
    this.#gap(words);
    this.#version.value++;
  }

  #gap(words: string): void {
    this.#push({ kind: "gap", key: `gap-${this.#gaps++}`, words });
  }

  #push(row: StreamRow): void {
    const level = row.kind === "gap" ? "trouble" : row.narrative.level;
    if (level !== "life") {
      this.#lists.work.push(row);
    }
    if (level === "trouble") {
      this.#lists.trouble.push(row);
    }
    for (const removed of this.#lists.all.push(row)) {
      this.#keys.delete(removed.key);
    }
  }
}

function keyOf(event: Event): string {
  return event.id || event.cursor;
}
