// Acts on workflows and alerts. A request goes out with a fresh id and the etag that the person saw; the state on the page changes only
// when the engine's event comes.
import { signal } from "@preact/signals";
import { actionWords } from "../core/words";
import { type Call, CallError, problemWords } from "../live/call";
import type { AlertStore } from "./alerts";
import type { ClockStore } from "./clock";
import type { CommandStore } from "./commands";
import type { MessageStore } from "./messages";
import type { Alert, ControlAction, Workflow } from "../core/wire";

export interface Intent {
  readonly workflow: Workflow;
  readonly action: ControlAction;
}

// crypto.randomUUID exists only where the page came over HTTPS or from this machine.
export function requestId(): string {
  if (typeof crypto.randomUUID === "function") {
    return crypto.randomUUID();
  }
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

export class ControlStore {
  // What the dialog is open for.
  readonly intent = signal<Intent | undefined>(undefined);
  // Alerts for which an act is on its way.
  readonly busyAlerts = signal<ReadonlySet<string>>(new Set());

  constructor(
    private readonly call: Call,
    private readonly clock: ClockStore,
    private readonly commands: CommandStore,
    private readonly alerts: AlertStore,
    private readonly messages: MessageStore,
  ) {}

  ask(workflow: Workflow, action: ControlAction): void {
    this.intent.value = { workflow, action };
  }

  dismiss(): void {
    this.intent.value = undefined;
  }

  // The etag stands for state, attempt and pending command: what the person decided on. If any of them changed, the server refuses.
  async request(seen: Workflow, action: ControlAction, reason: string): Promise<void> {
    const act = { workflowId: seen.id, action, words: "", at: this.clock.serverNow(), commandId: "" };
    this.commands.local({ ...act, phase: "sending" });
    try {
      const input = { workflowId: seen.id, action, reason, requestId: requestId(), etag: seen.etag };
      const { message } = await this.call("WorkflowService/ControlWorkflow", input);
      if (message.command !== undefined) {
        this.commands.track(message.command);
      }
    } catch (error) {
      const words = refusalWords(error);
      this.commands.local({ ...act, phase: "refused", words, at: this.clock.serverNow() });
      this.messages.say("critical", `${actionWords(action)?.label ?? "Act"} refused: ${seen.workflowName || seen.id}`, words);
    }
  }

  async acknowledge(alert: Alert): Promise<void> {
    await this.#onAlert(alert, "Acknowledge", async () => {
      const { message } = await this.call("AlertService/AcknowledgeAlert", { alertId: alert.id, requestId: requestId() });
      return message.alert;
    });
  }

  async resolve(alert: Alert): Promise<void> {
    await this.#onAlert(alert, "Resolve", async () => {
      const { message } = await this.call("AlertService/ResolveAlert", { alertId: alert.id, requestId: requestId() });
      return message.alert;
    });
  }

  async #onAlert(alert: Alert, label: string, run: () => Promise<Alert | undefined>): Promise<void> {
    this.busyAlerts.value = new Set([...this.busyAlerts.peek(), alert.id]);
    try {
      const changed = await run();
      if (changed !== undefined) {
        this.alerts.learn(changed);
      }
    } catch (error) {
      this.messages.say("critical", `${label} refused: ${alert.ruleName}`, refusalWords(error));
    } finally {
      this.busyAlerts.value = new Set([...this.busyAlerts.peek()].filter((id) => id !== alert.id));
    }
  }
}

export function refusalWords(error: unknown): string {
  const words = problemWords(error);
  if (!(error instanceof CallError)) {
    return words;
  }
  if (error.code === "UNREACHABLE" || error.code === "DEADLINE_EXCEEDED") {
    return `${words}; whether the request arrived is not known`;
  }
  if (error.reason === "ETAG_MISMATCH") {
    return "It changed since this page showed it. Look at its state now, and ask again if you still mean it.";
  }
  const legal = error.metadata["legal_actions"];
  return error.reason === "ILLEGAL_TRANSITION" && legal !== undefined ? `${words}. Legal now: ${legal || "nothing"}` : words;
}
