// Short messages about outcomes. They go by themselves, except those that say that something did not happen.
import { signal } from "@preact/signals";
import type { Tone } from "../core/words";

export interface Message {
  readonly id: number;
  readonly tone: Tone;
  readonly text: string;
  readonly detail: string;
}

const MOST = 4;
const SHOWN_MS = 6_000;

export class MessageStore {
  readonly messages = signal<readonly Message[]>([]);
  #next = 1;

  constructor(private readonly after: (ms: number, run: () => void) => void) {}

  say(tone: Tone, text: string, detail = ""): void {
    const id = this.#next++;
    this.messages.value = [...this.messages.peek(), { id, tone, text, detail }].slice(-MOST);
    if (tone === "good" || tone === "notice") {
      this.after(SHOWN_MS, () => this.dismiss(id));
    }
  }

  dismiss(id: number): void {
    this.messages.value = this.messages.peek().filter((message) => message.id !== id);
  }
}
