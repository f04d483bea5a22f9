// The Agents page: every agent as a cell and as a row, what one does and did, and the queues that engines take work from.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { durationText, percent, plural } from "../core/format";
import { matchesWords } from "../core/filter";
import { durationMs, timestampMs } from "../core/time";
import { agentLook, nameOf } from "../core/words";
import type { Agent } from "../core/wire";
import { AGENTS } from "../live/positions";
import { useStores } from "../ui/context";
import { type Column, Table, Tabbed } from "../ui/listed";
import { Mark } from "../ui/mark";
import { Group, NoAgents, loadOf } from "../ui/matrix";
import { Note, Panel, Since } from "../ui/panel";
import { AgentActs, AskedContext, PendingNote } from "./acts";
import "./agents.css";
import { type Asked, Asking } from "./asking";
import { Queues } from "./queues";
import { AgentSheet } from "./sheet";

export function Agents(): JSX.Element {
  const { route } = useStores();
  const asked = useSignal<Asked | undefined>(undefined);
  const open = route.open.value;
  return (
    <AskedContext.Provider value={asked}>
      <Tabbed
        page="agents"
        title="Agents"
        first="first"
        tabs={[
          ["", "Agents", Pools],
          ["queues", "Queues", Queues],
        ]}
      />
      {open !== "" && route.tab.value === "" ? <AgentSheet key={open} id={open} /> : null}
      {asked.value === undefined ? null : <Asking asked={asked.value} close={() => (asked.value = undefined)} />}
    </AskedContext.Provider>
  );
}

const CHIPS = ["AGENT_STATE_BUSY", "AGENT_STATE_ONLINE", "AGENT_STATE_DRAINING", "AGENT_STATE_OFFLINE"] as const;
const MOST = 200;

function Pools(): JSX.Element {
  const { agents, route } = useStores();
  const groups = agents.groups.value;
  const all = groups.flatMap((group) => group.agents);
  const state = route.state.value;
  const words = route.filter.value;
  const inState = (each: string): Agent[] => all.filter((agent) => nameOf(agent.state, "AGENT_STATE").toLowerCase() === each);
  const found = (state === "" ? all : inState(state)).filter((agent) => matchesWords(words, [agent.id, agent.agentType, agent.source]));
  const types = [...new Set(found.map((agent) => agent.agentType))];
  return (
    <>
      <Panel title="All agents" channel={AGENTS} class="agents matrix" testId="agents">
        <div class="body">
          {all.length === 0 ? <NoAgents arrived={agents.arrived.value} /> : groups.map((group) => <Group key={group.type} group={group} />)}
        </div>
      </Panel>
      <Panel
        title={types.length === 1 && found.length > 0 ? `Agents of type ${types[0]}` : "Agents"}
        channel={AGENTS}
        class="tall"
        testId="agent-rows"
        aside={
          types.length === 1 && found.length > 1 ? (
            <span class="tools" data-testid="agents-together">
              {plural(found.length, "agent")} one after the other{" "}
              <AgentActs agents={found} name={`${plural(found.length, "agent")} of type ${types[0]}`} />
            </span>
          ) : found.length > 1 ? (
            <span>narrow it to one type to act on many</span>
          ) : null
        }
      >
        <div class="chips" role="group" aria-label="States and types">
          <button type="button" class="chip" aria-pressed={state === ""} onClick={() => route.go({ state: "" })}>
            All <b>{all.length}</b>
          </button>
          {CHIPS.map((each) => {
            const look = agentLook(each);
            const key = look.word.toLowerCase();
            return (
              <button
                key={key}
                type="button"
                class="chip"
                aria-pressed={state === key}
                onClick={() => route.go({ state: state === key ? "" : key })}
                data-testid={`chip-${key}`}
              >
                <Mark look={look} /> {look.word} <b>{inState(key).length}</b>
              </button>
            );
          })}
          {groups.map(({ type, agents: some }) => (
            <button
              key={`type ${type}`}
              type="button"
              class="chip"
              aria-pressed={words === type}
              onClick={() => route.go({ filter: words === type ? "" : type })}
              data-testid={`chip-type-${type}`}
            >
              {type} <b>{some.length}</b>
            </button>
          ))}
        </div>
        <div class="body">
          {found.length > 0 ? (
            <Table
              items={found.slice(0, MOST)}
              columns={COLUMNS}
              testId="agent-row"
              id={({ id }) => id}
              opens={({ id }) => id}
              state={stateOf}
            />
          ) : all.length > 0 ? (
            <Note>
              No agent matches.{" "}
              <button type="button" class="link" onClick={() => route.go({ filter: "", state: "" })}>
                Show all
              </button>
            </Note>
          ) : null}
        </div>
        {found.length > MOST ? <Note bar>{plural(found.length - MOST, "more agent")} match; narrow it by words of their id.</Note> : null}
      </Panel>
    </>
  );
}

const stateOf = (agent: Agent): string => nameOf(agent.state, "AGENT_STATE");

const COLUMNS: readonly Column<Agent>[] = [
  [
    "State",
    "w-state",
    (agent) => (
      <>
        <span class="state" title={agent.offlineReason}>
          <Mark look={agentLook(agent.state)} /> {agentLook(agent.state).word}
        </span>
        <PendingNote command={agent.pendingCommand} />
      </>
    ),
  ],
  ["Agent", "w-name", (agent) => <NameCell agent={agent} />],
  ["Works on", "w-why", (agent) => <WorkCell agent={agent} />],
  ["Load", "w-load", (agent) => <Load agent={agent} />],
  ["Success", "w-rate number", (agent) => <Rate agent={agent} />],
  ["Mean task", "w-rate number", ({ meanTaskDuration: mean }) => (mean === undefined ? <Nothing /> : durationText(durationMs(mean)))],
  ["Heartbeat", "w-time number", (agent) => <Since at={timestampMs(agent.lastSeenTime)} />],
  ["Actions", "w-act", (agent) => <AgentActs agents={[agent]} name={`agent ${agent.id}`} />],
];

const Nothing = (): JSX.Element => <span class="faint">–</span>;

function NameCell({ agent }: { readonly agent: Agent }): JSX.Element {
  const { route } = useStores();
  return (
    <>
      <a class="name mono cut" href={route.href({ open: agent.id })} onClick={(event) => event.stopPropagation()}>
        {agent.id}
      </a>
      <span class="small weak">{agent.agentType || "no type"}</span>
    </>
  );
}

function WorkCell({ agent }: { readonly agent: Agent }): JSX.Element {
  const { route, workflows } = useStores();
  if (agent.workflowId === "") {
    return agent.offlineReason === "" ? (
      <Nothing />
    ) : (
      <span class="cut tone-critical" title={agent.offlineReason}>
        {agent.offlineReason}
      </span>
    );
  }
  return (
    <>
      <a
        class="cut"
        href={route.href({ page: "workflows", tab: "", state: "", filter: "", open: agent.workflowId })}
        onClick={(event) => event.stopPropagation()}
      >
        {workflows.get(agent.workflowId)?.workflowName || agent.workflowId}
      </a>
      <span class="small faint cut">{agent.taskId}</span>
    </>
  );
}

export function Load({ agent }: { readonly agent: Agent }): JSX.Element {
  const share = loadOf(agent);
  const words = agent.load === undefined ? "not reported" : `${agent.load.active} of ${agent.load.capacity || "?"}`;
  return (
    <span class="load" title={`${words} places taken`}>
      <span class="track tone-notice">
        <i style={{ left: 0, width: `${Math.min(1, share ?? 0) * 100}%` }} />
      </span>
      <span class="number">{agent.load === undefined ? "–" : `${agent.load.active}/${agent.load.capacity || "?"}`}</span>
    </span>
  );
}

function Rate({ agent }: { readonly agent: Agent }): JSX.Element {
  return agent.successRate === undefined ? (
    <Nothing />
  ) : (
    <span title={`${plural(Number(agent.completedTasks), "task")} completed, ${plural(Number(agent.failedTasks), "attempt")} failed`}>
      {percent(Number(agent.successRate))} <span class="unit">%</span>
    </span>
  );
}
