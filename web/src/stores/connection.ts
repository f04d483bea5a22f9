// How data arrives, and how old each kind of it is. Every panel takes its age from here, and every control its lock.
import { type ReadonlySignal, computed, signal } from "@preact/signals";
import { age } from "../core/format";
import type { LinkState } from "../live/link";
import { CHANNELS, METRICS, WORKFLOWS } from "../live/positions";
import type { ClockStore } from "./clock";

export type Mode = "connecting" | "live" | "polling" | "reconnecting" | "offline";

export interface PollState {
  readonly active: boolean;
  // Whether the newest round brought everything; undefined while none has ended.
  readonly ok: boolean | undefined;
  readonly problem: string;
}

export const STALE_MS = 15_000;
export const POLL_AFTER_FAILURES = 3;

export const NOT_POLLING: PollState = { active: false, ok: undefined, problem: "" };

export function modeOf(link: LinkState, poll: PollState, everOpen: boolean): Mode {
  if (link.phase === "open") {
    return "live";
  }
  if (poll.active && poll.ok !== undefined) {
    return poll.ok ? "polling" : "offline";
  }
  return everOpen || link.failures > 0 ? "reconnecting" : "connecting";
}

export class ConnectionStore {
  readonly link = signal<LinkState>({ phase: "stopped", failures: 0, retryAt: undefined, problem: "" });
  readonly poll = signal<PollState>(NOT_POLLING);
  // Whether the bridge itself hears its server; undefined while it has not said.
  readonly upstream = signal<boolean | undefined>(undefined);
  readonly #everOpen = signal(false);
  readonly #fresh: ReadonlyMap<string, ReturnType<typeof signal<number | undefined>>>;
  readonly #ages: ReadonlyMap<string, ReadonlySignal<number | undefined>>;

  readonly mode = computed(() => modeOf(this.link.value, this.poll.value, this.#everOpen.value));

  constructor(readonly clock: ClockStore) {
    this.#fresh = new Map(CHANNELS.map((channel) => [channel, signal<number | undefined>(undefined)]));
    this.#ages = new Map([...this.#fresh].map(([channel, at]) => [channel, computed(() => this.#age(at.value))]));
  }

  linkChanged(state: LinkState): void {
    this.link.value = state;
    if (state.phase === "open") {
      this.#everOpen.value = true;
    }
  }

  // What is shown of a channel was true at this time of the server.
  confirm(channel: string, at: number): void {
    const known = this.#fresh.get(channel);
    if (known !== undefined && at > (known.peek() ?? Number.NEGATIVE_INFINITY)) {
      known.value = at;
    }
  }

  // The bridge says itself how long it has heard nothing; that outweighs what was believed.
  correct(channel: string, at: number): void {
    const known = this.#fresh.get(channel);
    if (known !== undefined) {
      known.value = at;
    }
  }

  // Milliseconds; undefined when nothing came yet.
  ageOf(channel: string): number | undefined {
    return this.#ages.get(channel)?.value;
  }

  isStale(channel: string): boolean {
    return (this.ageOf(channel) ?? 0) > STALE_MS;
  }

  // Why controls are locked; empty when they are not.
  readonly lock = computed(() => {
    const mode = this.mode.value;
    if (mode !== "live" && mode !== "polling") {
      return "Locked: there is no connection to the server";
    }
    const old = this.ageOf(WORKFLOWS);
    if (old === undefined) {
      return "Locked: no workflow states have arrived yet";
    }
    return old > STALE_MS ? `Locked: what is shown is ${age(old)} old` : "";
  });

  readonly dataAge = computed(() => this.ageOf(METRICS));

  #age(at: number | undefined): number | undefined {
    return at === undefined ? undefined : Math.max(0, this.clock.now.value - at);
  }
}
