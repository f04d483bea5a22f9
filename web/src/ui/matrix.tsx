// A cell for each agent: state by shape and colour, load as fill. The Agents page has the same as a table, for who reads better so, or hears it.
import type { JSX } from "preact";
import { age, count } from "../core/format";
import { timestampMs } from "../core/time";
import { agentLook, nameOf } from "../core/words";
import { AGENTS } from "../live/positions";
import { type AgentGroup, isOnline } from "../stores/agents";
import { useStores } from "./context";
import { Mark } from "./mark";
import { memo } from "./memo";
import { Note, Panel } from "./panel";
import type { Agent } from "../core/wire";

export function AgentHealthMatrix(): JSX.Element {
  const { agents, route } = useStores();
  const groups = agents.groups.value;
  const known = groups.reduce((sum, group) => sum + group.agents.length, 0);
  const online = groups.reduce((sum, group) => sum + group.online, 0);
  const aside =
    known === 0 ? null : (
      <>
        <a href={route.href({ page: "agents", open: "", state: "" })}>all of them</a>
        <span data-testid="agents-online">
          {count(online)} of {count(known)} online
        </span>
      </>
    );
  return (
    <Panel title="Agents" channel={AGENTS} class="agents" testId="agents" aside={aside}>
      <div class="body">
        {known === 0 ? <NoAgents arrived={agents.arrived.value} /> : groups.map((group) => <Group key={group.type} group={group} />)}
      </div>
      {agents.truncated.value ? <Note bar>There are more agents than these {count(known)}.</Note> : null}
    </Panel>
  );
}

export function NoAgents({ arrived }: { readonly arrived: boolean }): JSX.Element {
  return <Note>{arrived ? "No agent has reported. An agent appears with its first heartbeat." : "Waiting for the agents…"}</Note>;
}

export function Group({ group }: { readonly group: AgentGroup }): JSX.Element {
  const full = group.capacity > 0 && group.active >= group.capacity;
  const busy = group.capacity === 0 ? "load not reported" : `${group.active} of ${group.capacity} places taken`;
  return (
    <div class={group.agents.length > DENSE_OVER ? "agent-group dense" : "agent-group"}>
      <span class="cut weak" title={group.type}>
        {group.type}
      </span>
      <ul class="cells" aria-label={`${group.type} agents`} onKeyDown={walk}>
        {group.agents.map((agent, index) => (
          <Cell key={agent.id} agent={agent} first={index === 0} />
        ))}
      </ul>
      <span
        class={`number ${group.online < group.agents.length ? "tone-critical" : "faint"}`}
        title={`${group.online} of ${group.agents.length} online, ${busy}`}
      >
        {full ? <span class="weak">full </span> : null}
        {group.online}/{group.agents.length}
      </span>
    </div>
  );
}

const DENSE_OVER = 32;
const EIGHTHS = 8;

const Cell = memo(({ agent, first }: { readonly agent: Agent; readonly first: boolean }): JSX.Element => {
  const { route, clock } = useStores();
  const look = agentLook(agent.state);
  const load = loadOf(agent);
  const eighths = load === undefined ? 0 : Math.min(EIGHTHS, Math.ceil(load * EIGHTHS));
  const seen = timestampMs(agent.lastSeenTime);
  // Read when the words are needed, not on each tick for each of a thousand cells.
  const words = (): string => cellWords(agent, seen === undefined ? undefined : clock.serverNow() - seen);
  const open = (): void => route.go({ page: "agents", tab: "", open: agent.id });
  const tell = (event: { currentTarget: HTMLElement }): void => {
    event.currentTarget.title = words();
    event.currentTarget.setAttribute("aria-label", words());
  };
  return (
    <li>
      <button
        type="button"
        class={`cell tone-${look.tone} ${isOnline(agent) ? "" : "off"} ${load === undefined ? "no-load" : ""}`}
        style={{ "--load": `${eighths * 12.5}%` }}
        tabIndex={first ? 0 : -1}
        onClick={open}
        onMouseEnter={tell}
        onFocus={tell}
        aria-label={`${agent.id}, ${look.word}`}
        data-testid="agent-cell"
        data-agent-id={agent.id}
        data-state={nameOf(agent.state, "AGENT_STATE")}
      >
        {agent.state === "AGENT_STATE_BUSY" || agent.state === "AGENT_STATE_ONLINE" ? null : <Mark look={look} />}
      </button>
    </li>
  );
});

export function loadOf(agent: Agent): number | undefined {
  return agent.load === undefined || agent.load.capacity === 0 ? undefined : agent.load.active / agent.load.capacity;
}

function cellWords(agent: Agent, silence: number | undefined): string {
  const load = agent.load === undefined ? "load not reported" : `${agent.load.active} of ${agent.load.capacity || "?"} tasks`;
  const heard = silence === undefined ? "never heard" : `heartbeat ${age(silence)} ago`;
  const work = agent.workflowId === "" ? "" : `, works on ${agent.workflowId}`;
  const why = agent.offlineReason === "" ? "" : `: ${agent.offlineReason}`;
  return `${agent.id}, ${agentLook(agent.state).word}${why}, ${load}, ${heard}${work}`;
}

// One stop for Tab in each group; the arrows go from cell to cell.
function walk(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  const cells = [...event.currentTarget.querySelectorAll<HTMLElement>("button")];
  const at = cells.indexOf(document.activeElement as HTMLElement);
  const steps: Readonly<Record<string, number>> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: cells.length - 1 };
  const next = cells[steps[event.key] ?? -1];
  if (next !== undefined) {
    event.preventDefault();
    next.focus();
  }
}
