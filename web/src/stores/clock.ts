// The server's time, as far as this browser can know it, and the tick by which shown ages grow.
import { computed, signal } from "@preact/signals";
import { type OffsetEstimate, offsetOf, sampleOneWay, sampleRoundTrip } from "../core/clock";

const TICK_MS = 500;
const TRIPS_KEPT = 3;

export class ClockStore {
  readonly #tick = signal(Date.now());
  readonly #offset = signal(0);
  readonly #trips = signal<readonly number[]>([]);
  #estimate: OffsetEstimate | undefined;

  // Reactive, in steps of half a second: for what is shown.
  readonly now = computed(() => this.#tick.value + this.#offset.value);
  // The quickest of the newest round trips: the others measure how busy this page was.
  readonly rtt = computed(() => (this.#trips.value.length === 0 ? undefined : Math.min(...this.#trips.value)));

  // At this instant: for what is computed.
  serverNow(): number {
    return Date.now() + this.#offset.peek();
  }

  roundTrip(sentAt: number, receivedAt: number, serverMs: number): void {
    this.#measured(receivedAt - sentAt);
    this.#use(sampleRoundTrip(this.#estimate, sentAt, receivedAt, serverMs));
  }

  oneWay(receivedAt: number, serverMs: number): void {
    this.#use(sampleOneWay(this.#estimate, receivedAt, serverMs));
  }

  // A Date header is cut to whole seconds, so it stands for any instant of its second.
  dateHeader(sentAt: number, receivedAt: number, serverMs: number): void {
    this.#measured(receivedAt - sentAt);
    this.#use(sampleRoundTrip(this.#estimate, sentAt - 1_000, receivedAt, serverMs));
  }

  run(): () => void {
    const timer = setInterval(() => {
      this.#tick.value = Date.now();
    }, TICK_MS);
    return () => clearInterval(timer);
  }

  #measured(ms: number): void {
    this.#trips.value = [...this.#trips.peek(), Math.max(0, ms)].slice(-TRIPS_KEPT);
  }

  #use(estimate: OffsetEstimate): void {
    this.#estimate = estimate;
    this.#offset.value = offsetOf(estimate);
  }
}
