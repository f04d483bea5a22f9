// Asks again and again while there is no socket, one round at a time: a slow server is never asked twice at once.
export const POLL_EVERY_MS = 2_000;

export interface PollTimer {
  after(ms: number, run: () => void): () => void;
}

export class Poller {
  #abort: AbortController | undefined;
  #cancel: () => void = () => undefined;

  constructor(
    private readonly timer: PollTimer,
    private readonly round: (signal: AbortSignal) => Promise<void>,
    private readonly everyMs = POLL_EVERY_MS,
  ) {}

  get running(): boolean {
    return this.#abort !== undefined;
  }

  start(): void {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      void this.#run(this.#abort);
    }
  }

  stop(): void {
    this.#cancel();
    this.#abort?.abort();
    this.#abort = undefined;
  }

  async #run(abort: AbortController): Promise<void> {
    await this.round(abort.signal);
    if (!abort.signal.aborted) {
      this.#cancel = this.timer.after(this.everyMs, () => void this.#run(abort));
    }
  }
}
