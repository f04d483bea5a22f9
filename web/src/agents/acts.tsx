// What can be asked of agents and of queues. What cannot is shown all the same, with the reason that the server gives.
import type { Signal } from "@preact/signals";
import { createContext } from "preact";
import type { JSX } from "preact";
import { useContext } from "preact/hooks";
import { actionWords, cliOf } from "../core/words";
import type { Agent, Command, ControlAction, Queue } from "../core/wire";
import { requestId } from "../stores/control";
import { actOf, actWords } from "../stores/commands";
import { Act } from "../ui/act";
import { useStores } from "../ui/context";
import { Picture } from "../ui/mark";
import type { Asked } from "./asking";

export const AskedContext = createContext<Signal<Asked | undefined> | undefined>(undefined);

export function useAsked(): Signal<Asked | undefined> {
  const asked = useContext(AskedContext);
  if (asked === undefined) {
    throw new Error("rendered outside of AskedContext");
  }
  return asked;
}

const OF_AGENTS = {
  CONTROL_ACTION_DRAIN: "AgentService/DrainAgent",
  CONTROL_ACTION_ACTIVATE: "AgentService/ActivateAgent",
  CONTROL_ACTION_RESTART: "AgentService/RestartAgent",
  CONTROL_ACTION_RESIZE: "AgentService/ResizeAgent",
} as const;
type OfAgents = keyof typeof OF_AGENTS;

// Why it cannot be asked for now; empty when it can.
export function refusedBy(item: Pick<Agent, "actions">, action: ControlAction): string {
  const found = item.actions.find((each) => each.action === action);
  return found === undefined ? "Its engine does not offer this" : found.available ? "" : found.reason;
}

export function PendingNote({ command }: { readonly command: Command | undefined }): JSX.Element | null {
  return command === undefined ? null : (
    <span class="act-note tone-notice" title={command.reason} data-testid="pending" data-phase={actOf(command).phase}>
      {actWords(actOf(command))}
    </span>
  );
}

// For one agent, or for all of one type, one after the other.
export function AgentActs({
  agents,
  name,
  words = false,
}: {
  readonly agents: readonly Agent[];
  readonly name: string;
  readonly words?: boolean;
}): JSX.Element {
  const { call } = useStores();
  const asked = useAsked();
  const many = agents.length > 1;
  const open = (action: OfAgents): void => {
    const able = agents.filter((agent) => refusedBy(agent, action) === "");
    asked.value = {
      action,
      name,
      targets: able.map(({ id, etag }) => ({
        id,
        ask: async (reason, poolSize) => {
          const sized = action === "CONTROL_ACTION_RESIZE" ? { poolSize } : {};
          // Of many, what was seen when the first was asked says little when the last is.
          const input = { agentId: id, reason, requestId: requestId(), etag: many ? "" : etag, ...sized };
          return (await call(OF_AGENTS[action], input)).message.command;
        },
      })),
      unable: agents.filter((agent) => !able.includes(agent)).map((agent) => ({ id: agent.id, reason: refusedBy(agent, action) })),
      cli: (id, reason, size) =>
        cliOf(`agents ${actionWords(action)?.verb}`, id, [
          ["pool-size", size],
          ["reason", reason],
        ]),
    };
  };
  return (
    <span class="acts" data-acts="">
      {(Object.keys(OF_AGENTS) as OfAgents[]).map((action) => {
        const { verb, label, effect } = actionWords(action) ?? { verb: "drain", label: "", effect: "" };
        const refusals = agents.map((agent) => refusedBy(agent, action));
        return (
          <Act
            key={action}
            testId={`agent-${verb}`}
            class={words ? "" : "icon"}
            label={words ? undefined : `${label} ${name}`}
            hint={`${label}: ${effect}`}
            refused={refusals.includes("") ? "" : (refusals[0] ?? "There is none")}
            onClick={() => open(action)}
          >
            <Picture icon={verb} /> {words ? `${label}…` : null}
          </Act>
        );
      })}
    </span>
  );
}

export function queueName({ name, workflowType, agentType }: Pick<Queue, "name" | "workflowType" | "agentType">): string {
  return (
    name ||
    (workflowType === "" && agentType === "" ? "all that it starts" : [workflowType, agentType].filter((each) => each !== "").join(", "))
  );
}

export function QueueActs({ queue, done }: { readonly queue: Queue; readonly done: () => void }): JSX.Element {
  const { call } = useStores();
  const asked = useAsked();
  const { source, name, workflowType, agentType } = queue;
  const paused = queue.state === "QUEUE_STATE_PAUSED";
  const action = paused ? "CONTROL_ACTION_RESUME" : "CONTROL_ACTION_PAUSE";
  const verb = paused ? "resume" : "pause";
  const open = (): void => {
    asked.value = {
      action,
      name: `${queueName(queue)} of ${source}`,
      effect: paused ? "The engine takes work from it again." : "The engine takes nothing new from it. What runs goes on.",
      targets: [
        {
          id: queueName(queue),
          ask: async (reason) => {
            const input = { source, queue: name, workflowType, agentType, reason, requestId: requestId() };
            const { message } = await call(paused ? "QueueService/ResumeQueue" : "QueueService/PauseQueue", input);
            done();
            return message.command;
          },
        },
      ],
      unable: [],
      cli: (_id, reason) =>
        cliOf(`queues ${verb}`, "", [
          ["source", source],
          ["queue", name],
          ["workflow-type", workflowType],
          ["agent-type", agentType],
          ["reason", reason],
        ]),
    };
  };
  return (
    <span class="acts" data-acts="">
      <Act testId={`queue-${verb}`} refused={refusedBy(queue, action)} hint={actionWords(action)?.label ?? ""} onClick={open}>
        {actionWords(action)?.label}…
      </Act>
    </span>
  );
}
