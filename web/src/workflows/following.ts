// One batch as it goes: followed on its stream until it is over, and again when that breaks off; what was known stays shown.
import { signal } from "@preact/signals";
import { CallError, problemWords } from "../live/call";
import { followed } from "../live/lines";
import type { Batch } from "../core/wire";
import { isOver } from "./words";

export interface BatchView {
  readonly phase: "loading" | "live" | "missing" | "broken";
  readonly batch: Batch | undefined;
  readonly problem: string;
}

const AGAIN_MS = 2_000;

export class Following {
  readonly view = signal<BatchView>({ phase: "loading", batch: undefined, problem: "" });
  #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly base: string,
    private readonly id: string,
  ) {}

  show(): () => void {
    void this.#follow();
    return () => {
      this.#abort.abort();
      clearTimeout(this.#timer);
    };
  }

  // An act answers with the batch, which may be ahead of the stream.
  learn(batch: Batch | undefined): void {
    if (batch !== undefined) {
      this.view.value = { phase: "live", batch, problem: "" };
    }
  }

  async #follow(): Promise<void> {
    const { signal: stop } = (this.#abort = new AbortController());
    try {
      const url = new URL(`api/v1/batches/${encodeURIComponent(this.id)}:watch`, this.base);
      for await (const { batch } of followed<{ batch?: Batch }>(url, stop)) {
        this.learn(batch);
      }
      if (stop.aborted || (this.view.peek().batch !== undefined && isOver(this.view.peek().batch as Batch))) {
        return;
      }
      this.#again();
    } catch (error) {
      if (!stop.aborted) {
        const missing = error instanceof CallError && (error.code === "NOT_FOUND" || error.code === "INVALID_ARGUMENT");
        this.view.value = { ...this.view.peek(), phase: missing ? "missing" : "broken", problem: problemWords(error) };
        if (!missing) {
          this.#again();
        }
      }
    }
  }

  #again(): void {
    this.#timer = setTimeout(() => void this.#follow(), AGAIN_MS);
  }
}
