// The rows of the Events page: the newest first read, then followed; older ones as somebody scrolls to them; and what rows say again once it was let go.
// Following begins before reading, and what comes by both ways is known by its id: so there is neither a gap nor a double between them.
import { signal } from "@preact/signals";
import type { Event } from "../core/wire";
import { type Call, CallError, problemWords } from "../live/call";
import { followedWhileSeen } from "../live/lines";
import { timestampMs } from "../core/time";
import { Rows } from "./rows";

export const PAGE = 500;
// More in a second than anybody reads, and than this page can draw: of a flood the newest are shown, and how many are missing.
const FASTEST = 2_000;
const AGAIN_MS = 2_000;
const MOST_LOOKS = 4;
// Of a gap, at once.
const MOST_FILLED = 10_000;

export interface Standing {
  readonly phase: "loading" | "ready" | "error";
  readonly problem: string;
  readonly code: string;
  // Whether new events come by themselves.
  readonly live: boolean;
  // Whether there may be older ones, and whether they are being read.
  readonly older: boolean;
  readonly reading: boolean;
  // How far back was looked, where nothing was found up to there.
  readonly looked: number | undefined;
}

const NOTHING: Standing = { phase: "loading", problem: "", code: "", live: false, older: false, reading: false, looked: undefined };

interface Watched {
  readonly resumeToken?: string;
  readonly batch?: { readonly events: readonly Partial<Event>[] };
  readonly skipped?: { readonly count: string };
  readonly reset?: { readonly reason: string };
}

export class Feed {
  rows = new Rows();
  readonly version = signal(0);
  readonly standing = signal<Standing>(NOTHING);
  // Newer ones that are not among the rows, because somebody reads what is a hundred thousand rows older.
  readonly beyond = signal(0);
  #abort = new AbortController();
  #filter = "";
  // Where the next older page begins, as long as the first row is still that number.
  #token = "";
  #tokenAt = 0;
  // What was read first, which is followed too when it came after following began.
  readonly #read = new Set<string>();
  #waiting: { readonly missing: number; readonly events: readonly Event[] }[] | undefined;
  readonly #asked = new Set<string>();

  constructor(
    private readonly call: Call,
    private readonly base: string,
  ) {}

  // Another question: what was there is no answer to it.
  ask(filter: string, live: boolean): void {
    this.stop();
    this.#abort = new AbortController();
    this.rows = new Rows();
    this.#filter = filter;
    this.#token = "";
    this.#read.clear();
    this.#asked.clear();
    this.beyond.value = 0;
    this.standing.value = { ...NOTHING, live };
    this.version.value++;
    if (live) {
      this.#waiting = [];
      void this.#follow(this.#abort.signal);
    } else {
      this.#waiting = undefined;
      void this.older();
    }
  }

  stop(): void {
    this.#abort.abort();
  }

  // The next page of older ones.
  async older(): Promise<void> {
    const { signal } = this.#abort;
    if (this.standing.peek().reading) {
      return;
    }
    this.#stand({ reading: true });
    try {
      for (let look = 0; look < MOST_LOOKS && !signal.aborted; look++) {
        const { base } = this.rows;
        const pageToken = this.#tokenAt === base ? this.#token : "";
        const startEventId = pageToken === "" ? this.rows.nearest(base, 1) : "";
        const { message } = await this.call(
          "EventService/ListEvents",
          { filter: this.#filter, pageSize: PAGE, pageToken, startEventId },
          signal,
        );
        if (this.rows.base !== base) {
          // Rows went meanwhile: what was read does not join them.
          continue;
        }
        this.beyond.value += this.rows.prepend(message.events);
        this.#token = message.nextPageToken;
        this.#tokenAt = this.rows.base;
        this.#stand({ phase: "ready", problem: "", code: "", older: this.#token !== "", looked: timestampMs(message.lookedTime) });
        this.#join(message.events);
        this.version.value++;
        if (message.events.length > 0 || this.#token === "") {
          break;
        }
      }
    } catch (error) {
      this.#refused(error, signal);
    }
    if (!signal.aborted) {
      this.#stand({ reading: false });
    }
  }

  // What the rows of a window say, where it was let go.
  async need(first: number, end: number): Promise<void> {
    const { signal } = this.#abort;
    const lacking = Array.from({ length: end - first }, (_, offset) => this.rows.row(first + offset)).find(
      (row) => row.missing === 0 && row.told === undefined && !this.#asked.has(row.id),
    );
    if (lacking === undefined || signal.aborted) {
      return;
    }
    this.#asked.add(lacking.id);
    const before = this.rows.nearest(lacking.number - 1, -1);
    try {
      // The first of all rows has none before it.
      const events =
        before === ""
          ? [(await this.call("EventService/GetEvent", { eventId: lacking.id }, signal)).message.event]
          : (
              await this.call(
                "EventService/ListEvents",
                { filter: this.#filter, pageSize: 200, startEventId: before, ascending: true },
                signal,
              )
            ).message.events;
      this.rows.tell(events.filter((event) => event !== undefined));
      this.version.value++;
    } catch {
      // Its time and type stay; it is asked for again when it is looked at again.
    }
    setTimeout(() => this.#asked.delete(lacking.id), AGAIN_MS);
  }

  // What is missing at a row.
  async fill(number: number): Promise<void> {
    const { signal } = this.#abort;
    const before = this.rows.nearest(number, -1);
    const after = this.rows.nearest(number, 1);
    const { id, missing } = this.rows.row(number);
    // Behind the last event the list has no end: as many as were missing are read, and what came since is followed.
    const last = after === "";
    const most = last ? Math.min(missing, MOST_FILLED) : MOST_FILLED;
    try {
      const found: Event[] = [];
      let joined = false;
      let pageToken = "";
      do {
        const startEventId = pageToken === "" ? before : "";
        const input = { filter: this.#filter, pageSize: 1_000, startEventId, pageToken, ascending: true };
        const { message } = await this.call("EventService/ListEvents", input, signal);
        pageToken = message.nextPageToken;
        for (const event of message.events) {
          joined ||= event.id === after;
          if (!joined && found.length < most) {
            found.push(event);
          }
        }
      } while (!joined && pageToken !== "" && found.length < most);
      const at = this.rows.find(id);
      if (at !== undefined) {
        const since = this.rows.row(at).missing - missing;
        const all = joined || pageToken === "" || (last && found.length === missing);
        this.rows.fill(at, found, since + (all ? 0 : Math.max(1, missing - found.length)));
        this.version.value++;
      }
    } catch (error) {
      this.#refused(error, signal);
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    let token = "";
    while (!signal.aborted) {
      try {
        const url = new URL("api/v1/events:watch", this.base);
        url.search = new URLSearchParams({ filter: this.#filter, resume_token: token, max_events_per_second: String(FASTEST) }).toString();
        for await (const update of followedWhileSeen<Watched>(url, signal)) {
          token = update.resumeToken || token;
          this.#take(update);
        }
      } catch (error) {
        this.#refused(error, signal);
        if (error instanceof CallError && error.code === "INVALID_ARGUMENT") {
          return;
        }
        await new Promise((run) => setTimeout(run, AGAIN_MS));
      }
    }
  }

  #take(update: Watched): void {
    // Its first word says that following has begun: now read what was there before.
    if (this.#waiting !== undefined && !this.standing.peek().reading) {
      void this.older();
    }
    if (this.standing.peek().phase === "error") {
      this.#stand({ phase: "ready", problem: "", code: "" });
    }
    if (update.reset !== undefined) {
      this.ask(this.#filter, true);
      return;
    }
    const missing = Number(update.skipped?.count ?? 0);
    const events = (update.batch?.events ?? []).map(whole).filter(({ id }) => !this.#read.has(id));
    if (missing === 0 && events.length === 0) {
      return;
    }
    if (this.beyond.peek() > 0) {
      this.beyond.value += events.length + missing;
      return;
    }
    if (this.#waiting !== undefined) {
      this.#waiting.push({ missing, events });
      return;
    }
    this.#append(missing, events);
    this.version.value++;
  }

  #append(missing: number, events: readonly Event[]): void {
    if (missing > 0) {
      this.rows.appendGap(missing);
    }
    if (this.rows.append(events) > 0) {
      this.#stand({ older: true });
    }
  }

  // What came while the first page was being read. Of what was left out then, that page may hold some: reading the gap tells.
  #join(read: readonly Event[]): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) {
      read.forEach(({ id }) => this.#read.add(id));
      for (const { missing, events } of waiting) {
        this.#append(
          missing,
          events.filter(({ id }) => !this.#read.has(id)),
        );
      }
    }
  }

  #refused(error: unknown, signal: AbortSignal): void {
    if (!signal.aborted) {
      this.#stand({ phase: "error", problem: problemWords(error), code: error instanceof CallError ? error.code : "" });
    }
  }

  #stand(change: Partial<Standing>): void {
    this.standing.value = { ...this.standing.peek(), ...change };
  }
}

// What a stream leaves out holds its default.
function whole(event: Partial<Event>): Event {
  return { ...EMPTY, ...event } as Event;
}

const EMPTY = {
  id: "",
  source: "",
  workflowId: "",
  workflowType: "",
  workflowName: "",
  stage: "",
  taskId: "",
  agentId: "",
  agentType: "",
  traceId: "",
  spanId: "",
  parentSpanId: "",
  message: "",
  attempt: 0,
  attributes: {},
  commandId: "",
  stagePlan: [],
  queue: "",
  cursor: "",
};
