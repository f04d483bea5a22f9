// A hundred thousand rows in bounded memory: of each row its time, type, severity and id, in a ring; what it says, of the newest read few thousand
// only. Rows are numbered from the first that ever came, so a list keeps its place while rows go at one end and come at the other.
import { timestampMs } from "../core/time";
import { type Narrative, narrate } from "../core/narrative";
import type { Event, EventType, Severity } from "../core/wire";

export const MOST_ROWS = 100_000;
export const MOST_TOLD = 8_000;
const CAPACITY = 1 << 17;
const GAP = 255;

export interface Told {
  readonly event: Event;
  readonly narrative: Narrative;
}

export interface Row {
  readonly number: number;
  readonly id: string;
  // How many events are missing here; 0 for an event.
  readonly missing: number;
  readonly at: number;
  readonly type: EventType;
  readonly severity: Severity;
  // Undefined until it is read again.
  readonly told: Told | undefined;
}

export class Rows {
  // The number of the first row.
  base = 0;
  length = 0;
  #head = 0;
  #gaps = 0;
  readonly #at = new Float64Array(CAPACITY);
  readonly #type = new Uint8Array(CAPACITY);
  readonly #severity = new Uint8Array(CAPACITY);
  readonly #ids: string[] = [];
  readonly #names = new Names();
  readonly #told = new Map<string, Told>();

  constructor(private readonly most = MOST_ROWS) {}

  get end(): number {
    return this.base + this.length;
  }

  // Newer ones. Returns how many of the oldest went for them.
  append(events: readonly Event[]): number {
    for (const event of events) {
      this.length++;
      this.#put(this.length - 1, event);
    }
    return this.#cutFront();
  }

  appendGap(missing: number): void {
    const last = this.length - 1;
    if (last >= 0 && this.#type[this.#place(last)] === GAP) {
      this.#at[this.#place(last)] = (this.#at[this.#place(last)] ?? 0) + missing;
      return;
    }
    this.length++;
    this.#putGap(this.length - 1, missing);
    this.#cutFront();
  }

  // Older ones, the newest first. Returns how many of the newest went for them.
  prepend(events: readonly Event[]): number {
    for (const event of events) {
      this.#head = (this.#head - 1 + CAPACITY) % CAPACITY;
      this.base--;
      this.length++;
      this.#put(0, event);
    }
    const over = Math.max(0, this.length - this.most);
    for (let index = this.length - over; index < this.length; index++) {
      this.#forget(index);
    }
    this.length -= over;
    return over;
  }

  // What was missing at a row, oldest first; `left` are still missing, behind it.
  fill(number: number, events: readonly Event[], left: number): void {
    const index = number - this.base;
    if (this.#type[this.#place(index)] !== GAP) {
      return;
    }
    const more = events.length - (left > 0 ? 0 : 1);
    const by = Math.min(more, CAPACITY - 1 - this.length);
    for (let from = this.length - 1; by !== 0 && from > index; from--) {
      this.#copy(from, from + by);
    }
    if (by < 0) {
      for (let from = index + 1; from < this.length; from++) {
        this.#copy(from, from - 1);
      }
    }
    this.length += by;
    events.slice(0, by + (left > 0 ? 0 : 1)).forEach((event, offset) => this.#put(index + offset, event));
    if (left > 0) {
      this.#putGap(index + by, left);
    }
    this.#cutFront();
  }

  // What the events of rows say, read again.
  tell(events: readonly Event[]): void {
    for (const event of events) {
      this.#tell(event);
    }
  }

  row(number: number): Row {
    const place = this.#place(number - this.base);
    const id = this.#ids[place] ?? "";
    const missing = this.#type[place] === GAP ? (this.#at[place] ?? 0) : 0;
    const told = this.#told.get(id);
    if (told !== undefined) {
      // What is looked at stays longest.
      this.#told.delete(id);
      this.#told.set(id, told);
    }
    return {
      number,
      id,
      missing,
      at: this.#at[place] ?? 0,
      type: this.#names.name(this.#type[place] ?? 0) as EventType,
      severity: this.#names.name(this.#severity[place] ?? 0) as Severity,
      told,
    };
  }

  // The event that is at a row or nearest to it in a direction; "" when there is none.
  nearest(number: number, by: 1 | -1): string {
    for (let index = number - this.base; index >= 0 && index < this.length; index += by) {
      const place = this.#place(index);
      if (this.#type[place] !== GAP) {
        return this.#ids[place] ?? "";
      }
    }
    return "";
  }

  find(id: string): number | undefined {
    for (let index = this.length - 1; index >= 0; index--) {
      if (this.#ids[this.#place(index)] === id) {
        return this.base + index;
      }
    }
    return undefined;
  }

  #place(index: number): number {
    return (this.#head + index) % CAPACITY;
  }

  #put(index: number, event: Event): void {
    const place = this.#place(index);
    this.#at[place] = timestampMs(event.occurTime) ?? timestampMs(event.receiveTime) ?? 0;
    this.#type[place] = this.#names.code(event.type);
    this.#severity[place] = this.#names.code(event.severity);
    this.#ids[place] = event.id;
    this.#tell(event);
  }

  #putGap(index: number, missing: number): void {
    const place = this.#place(index);
    this.#at[place] = missing;
    this.#type[place] = GAP;
    this.#ids[place] = `:gap-${this.#gaps++}`;
  }

  #copy(from: number, to: number): void {
    const [source, target] = [this.#place(from), this.#place(to)];
    this.#at[target] = this.#at[source] ?? 0;
    this.#type[target] = this.#type[source] ?? 0;
    this.#severity[target] = this.#severity[source] ?? 0;
    this.#ids[target] = this.#ids[source] ?? "";
  }

  #tell(event: Event): void {
    this.#told.set(event.id, { event, narrative: narrate(event) });
    if (this.#told.size > MOST_TOLD) {
      for (const id of this.#told.keys()) {
        this.#told.delete(id);
        break;
      }
    }
  }

  #cutFront(): number {
    const over = Math.max(0, this.length - this.most);
    for (let index = 0; index < over; index++) {
      this.#forget(index);
    }
    this.#head = this.#place(over);
    this.base += over;
    this.length -= over;
    return over;
  }

  #forget(index: number): void {
    const place = this.#place(index);
    this.#told.delete(this.#ids[place] ?? "");
    this.#ids[place] = "";
  }
}

// Names as bytes. The contract has few types; of a server that knows more than fit, the rest are told apart when they are read.
class Names {
  readonly #names = [""];
  readonly #codes = new Map<string, number>();

  code(name: string): number {
    const known = this.#codes.get(name);
    if (known !== undefined || this.#names.length >= GAP) {
      return known ?? 0;
    }
    this.#codes.set(name, this.#names.length);
    return this.#names.push(name) - 1;
  }

  name(code: number): string {
    return this.#names[code] ?? "";
  }
}
