// One agent: how it is, what can be asked of it, what it has in hand, what it ended last and how long that took, and the commands on it.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { age, durationText, exactTime, percent, plural, when } from "../core/format";
import { timestampMs } from "../core/time";
import { agentLook, cliOf, workLook } from "../core/words";
import type { Agent, AgentTask, GetAgentResponse } from "../core/wire";
import { useStores } from "../ui/context";
import { CliLine } from "../ui/dialog";
import { Fact, Standing, useList } from "../ui/listed";
import { Mark } from "../ui/mark";
import { Since } from "../ui/panel";
import { Part, Side } from "../ui/side";
import { Commands } from "../workflows/records";
import { AgentActs, PendingNote } from "./acts";
import { Load } from "./page";

const AGAIN_MS = 2_000;

export function AgentSheet({ id }: { readonly id: string }): JSX.Element {
  const { call, agents } = useStores();
  const list = useList<GetAgentResponse>(
    async (_token, signal) => ({ items: [(await call("AgentService/GetAgent", { agentId: id }, signal)).message] }),
    AGAIN_MS,
    id,
  );
  const answer = list.view.value.items[0];
  const agent = agents.groups.value.flatMap((group) => group.agents).find((each) => each.id === id) ?? answer?.agent;
  // What the live channel tells of it is worth reading the rest again.
  useEffect(() => list.refresh(), [agent?.etag]);
  return (
    <Side
      title={<span class="mono">{id}</span>}
      label={`Agent ${id}`}
      testId="agent-sheet"
      marks={{ "data-agent-id": id, "data-state": agent === undefined ? "" : agentLook(agent.state).word }}
    >
      <Standing list={list} what="the agent" />
      {agent === undefined ? null : <Summary agent={agent} />}
      {answer === undefined ? null : (
        <>
          <Tasks title="In hand" tasks={answer.currentTasks} none="Nothing." />
          <Tasks title="Ended last" tasks={answer.recentTasks} none="Nothing yet." />
          <Commands commands={answer.commands} />
        </>
      )}
    </Side>
  );
}

function Summary({ agent }: { readonly agent: Agent }): JSX.Element {
  const { clock } = useStores();
  const look = agentLook(agent.state);
  const since = timestampMs(agent.registerTime);
  return (
    <section class="summary">
      <div class="lined">
        <span class="state" role="status">
          <Mark look={look} /> {look.word}
        </span>
        <span class="weak">
          heartbeat <Since at={timestampMs(agent.lastSeenTime)} />
        </span>
        <PendingNote command={agent.pendingCommand} />
      </div>
      {agent.offlineReason === "" ? null : <p class="tone-critical">{agent.offlineReason}</p>}
      <AgentActs agents={[agent]} name={`agent ${agent.id}`} words />
      <dl class="facts">
        <Fact name="Type">{agent.agentType || "–"}</Fact>
        <Fact name="Engine">{agent.source || "–"}</Fact>
        <Fact name="Known since">{since === undefined ? "–" : when(since, clock.serverNow())}</Fact>
        <Fact name="Load">
          <Load agent={agent} />
        </Fact>
        <Fact name="Success">{agent.successRate === undefined ? "–" : `${percent(Number(agent.successRate))} %`}</Fact>
        <Fact name="Tasks">
          {plural(Number(agent.completedTasks), "done", "done")}, {Number(agent.failedTasks)} failed
        </Fact>
      </dl>
      <CliLine line={cliOf("agents get", agent.id)} />
    </section>
  );
}

// A task's bar is its time against the longest of those beside it.
function Tasks({
  title,
  tasks,
  none,
}: {
  readonly title: string;
  readonly tasks: readonly AgentTask[];
  readonly none: string;
}): JSX.Element {
  const { clock, route } = useStores();
  const now = clock.now.value;
  const took = tasks.map(({ task }) => {
    const from = timestampMs(task?.startTime);
    return from === undefined ? 0 : Math.max(0, (timestampMs(task?.endTime) ?? now) - from);
  });
  const longest = Math.max(1, ...took);
  const sorted = took.toSorted((a, b) => a - b);
  const at = (share: number): string => durationText(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
  return (
    <Part title={title} count={tasks.length > 1 ? `${tasks.length} · half within ${at(0.5)}, 95 % within ${at(0.95)}` : tasks.length}>
      {tasks.length === 0 ? <p class="faint">{none}</p> : null}
      <ul class="lines tasks">
        {tasks.map(({ task, workflowId, workflowType }, index) => {
          const look = workLook(task?.state ?? "WORK_STATE_UNSPECIFIED");
          const end = timestampMs(task?.endTime);
          return (
            <li
              key={`${workflowId} ${task?.id} ${task?.attempt}`}
              title={end === undefined ? "" : `Ended ${exactTime(end)}, ${age(now - end)} ago`}
            >
              <Mark look={look} />
              <span class="cut">
                {task?.id}{" "}
                <a class="small" href={route.href({ page: "workflows", tab: "", filter: "", state: "", open: workflowId })}>
                  {workflowType || workflowId}
                </a>
                {task?.error === undefined ? null : <span class="tone-critical small"> {task.error.message}</span>}
              </span>
              <span class={`track tone-${look.tone}`}>
                <i style={{ left: 0, width: `${((took[index] ?? 0) / longest) * 100}%` }} />
              </span>
              <span class="number weak">{durationText(took[index] ?? 0)}</span>
            </li>
          );
        })}
      </ul>
    </Part>
  );
}
