// One act on one thing after the other: the next is asked for when the one before has ended, whichever way, so that a restart of many
// never has more than one of them away. What each says of itself is the command's own state.
import { signal } from "@preact/signals";
import type { Command } from "../core/wire";
import { refusalWords } from "../stores/control";
import { type ActPhase, actOf, isOver } from "../stores/commands";

export interface Step {
  readonly id: string;
  // "" is not asked for yet.
  readonly phase: ActPhase | "";
  readonly words: string;
  // The engine's own time once effective.
  readonly at: number | undefined;
}

export interface Target {
  readonly id: string;
  readonly ask: (reason: string, size: number) => Promise<Command | undefined>;
}

const AGAIN_MS = 400;

export class Rolling {
  readonly steps = signal<readonly Step[]>([]);
  readonly state = signal<"idle" | "running" | "over">("idle");
  #stopped = false;

  constructor(
    private readonly read: (commandId: string) => Promise<Command | undefined>,
    private readonly after = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms)),
  ) {}

  // What was asked for goes on; nothing more is.
  stop(): void {
    this.#stopped = true;
  }

  async run(targets: readonly Target[], reason: string, size = 0): Promise<void> {
    this.state.value = "running";
    this.steps.value = targets.map(({ id }) => ({ id, phase: "", words: "", at: undefined }));
    for (const target of targets) {
      if (this.#stopped) {
        break;
      }
      await this.#one(target, reason, size);
    }
    this.state.value = "over";
  }

  async #one({ id, ask }: Target, reason: string, size: number): Promise<void> {
    this.#put({ id, phase: "sending", words: "", at: undefined });
    try {
      let command = await ask(reason, size);
      while (command !== undefined) {
        const { phase, words, at } = actOf(command);
        this.#put({ id, phase, words, at });
        if (isOver(phase) || this.#stopped) {
          return;
        }
        await this.after(AGAIN_MS);
        // One that cannot be read now is read again.
        const known: Command = command;
        command = await this.read(known.id).catch(() => known);
      }
    } catch (error) {
      this.#put({ id, phase: "refused", words: refusalWords(error), at: undefined });
    }
  }

  #put(step: Step): void {
    this.steps.value = this.steps.peek().map((each) => (each.id === step.id ? step : each));
  }
}
