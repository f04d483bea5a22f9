// What became of each act of this page and of the commands of others, by workflow. Never a guess: a workflow's state is the engine's.
import { signal } from "@preact/signals";
import { actionWords } from "../core/words";
import { timestampMs } from "../core/time";
import type { Command, CommandState, ControlAction, Workflow } from "../core/wire";

export type ActPhase = "sending" | "requested" | "accepted" | "effective" | "failed" | "expired" | "refused";

export interface Act {
  readonly workflowId: string;
  readonly action: ControlAction;
  readonly phase: ActPhase;
  // Why it was refused or failed; empty otherwise.
  readonly words: string;
  // When the phase began, server time; the engine's own time once effective.
  readonly at: number | undefined;
  readonly commandId: string;
}

const PHASES: Readonly<Partial<Record<CommandState, ActPhase>>> = {
  COMMAND_STATE_REQUESTED: "requested",
  COMMAND_STATE_ACCEPTED: "accepted",
  COMMAND_STATE_EFFECTIVE: "effective",
  COMMAND_STATE_FAILED: "failed",
  COMMAND_STATE_EXPIRED: "expired",
};

const ORDER: readonly ActPhase[] = ["sending", "requested", "accepted"];

export function isOver(phase: ActPhase): boolean {
  return !ORDER.includes(phase);
}

export function actOf(command: Command): Act {
  const phase = PHASES[command.state] ?? "requested";
  const words = phase === "expired" ? (command.error?.message ?? "no engine took it in time") : (command.error?.message ?? "");
  const at =
    timestampMs(command.effectTime) ?? timestampMs(command.endTime) ?? timestampMs(command.acceptTime) ?? timestampMs(command.requestTime);
  return { workflowId: command.workflowId, action: command.action, phase, words, at, commandId: command.id };
}

export function actWords(act: Act): string {
  const words = actionWords(act.action);
  const verb = words?.verb ?? "act";
  switch (act.phase) {
    case "sending":
      return `sending ${verb}`;
    case "requested":
      return `${verb} requested`;
    case "accepted":
      return `${verb} accepted`;
    case "effective":
      return words?.done ?? "done";
    case "failed":
      return `${verb} failed`;
    case "expired":
      return `${verb} expired`;
    case "refused":
      return `${verb} refused`;
  }
}

const MOST = 1_000;
const SETTLE_MS = 3_000;

export class CommandStore {
  readonly acts = signal<ReadonlyMap<string, Act>>(new Map());
  // Commands that this page asked for, for the messages about their end.
  readonly #mine = new Set<string>();
  readonly #asked = new Set<string>();

  constructor(
    private readonly read: (commandId: string) => Promise<Command | undefined>,
    private readonly ended: (act: Act) => void,
    private readonly after: (ms: number, run: () => void) => void,
  ) {}

  get(workflowId: string): Act | undefined {
    return this.acts.value.get(workflowId);
  }

  // What happened on this side of the wire: sending, refused.
  local(act: Act): void {
    this.#put(act);
  }

  // The answer to a request of this page; news of the command may have come before it.
  track(command: Command): void {
    this.#mine.add(command.id);
    const known = this.acts.peek().get(command.workflowId);
    if (known?.phase === "sending") {
      this.forget(command.workflowId);
    }
    this.apply(command);
    this.#settleLater(command.id, command.workflowId);
  }

  // A workflow carries its pending command. When it no longer does, the command has ended, and only the command says how.
  observe(workflow: Workflow): void {
    const pending = workflow.pendingCommand;
    const known = this.acts.peek().get(workflow.id);
    if (pending !== undefined) {
      this.apply(pending);
    }
    if (known !== undefined && known.commandId !== "" && known.commandId !== pending?.id && !isOver(known.phase)) {
      void this.#settle(known.commandId);
    }
  }

  apply(command: Command): void {
    const act = actOf(command);
    const known = this.acts.peek().get(act.workflowId);
    const same = known?.commandId === act.commandId;
    // News may be late: a command never goes back.
    if (same && (isOver(known.phase) || (!isOver(act.phase) && ORDER.indexOf(act.phase) <= ORDER.indexOf(known.phase)))) {
      return;
    }
    if (!same && known?.phase === "sending") {
      return;
    }
    this.#put(act);
    if (isOver(act.phase) && this.#mine.delete(act.commandId)) {
      this.ended(act);
    }
  }

  forget(workflowId: string): void {
    const acts = new Map(this.acts.peek());
    acts.delete(workflowId);
    this.acts.value = acts;
  }

  #settleLater(commandId: string, workflowId: string): void {
    this.after(SETTLE_MS, () => {
      const act = this.acts.peek().get(workflowId);
      if (act?.commandId === commandId && !isOver(act.phase)) {
        void this.#settle(commandId);
        this.#settleLater(commandId, workflowId);
      }
    });
  }

  async #settle(commandId: string): Promise<void> {
    if (this.#asked.has(commandId)) {
      return;
    }
    this.#asked.add(commandId);
    const command = await this.read(commandId);
    this.#asked.delete(commandId);
    if (command !== undefined) {
      this.apply(command);
    }
  }

  #put(act: Act): void {
    const acts = new Map(this.acts.peek());
    acts.delete(act.workflowId);
    acts.set(act.workflowId, act);
    this.acts.value = acts.size > MOST ? new Map([...acts].slice(-MOST)) : acts;
  }
}
