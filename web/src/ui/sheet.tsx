// One workflow, beside what was there: stages on a time axis, tasks, commands, events, and the acts on it.
import type { ComponentChildren, JSX } from "preact";
import { durationText, exactTime, plural, timeOfDay, when } from "../core/format";
import { narrate } from "../core/narrative";
import { durationMs, timestampMs } from "../core/time";
import { actionWords, cliLine, commandLook, workLook } from "../core/words";
import { hasEnded } from "../stores/workflows";
import { useStores } from "./context";
import { CliLine } from "./dialog";
import { Mark } from "./mark";
import { Note, Since } from "./panel";
import { Part, Side } from "./side";
import { ActNote, Actions, Elapsed, WorkflowStateCell, stageState, stateName } from "./workflow";
import type { Command, Event, Stage, Task, WorkState, Workflow } from "../core/wire";

export function WorkflowSheet(): JSX.Element | null {
  const { route } = useStores();
  return route.open.value === "" ? null : <Sheet key={route.open.value} id={route.open.value} />;
}

function Sheet({ id }: { readonly id: string }): JSX.Element {
  const { workflows, detail } = useStores();
  const view = detail.view.value;
  const workflow = workflows.get(id) ?? view.answer?.workflow;
  return (
    <Side
      title={workflow?.workflowName || id}
      label={`Workflow ${id}`}
      testId="sheet"
      marks={{ "data-workflow-id": id, "data-state": workflow === undefined ? "" : stateName(workflow) }}
    >
      {workflow === undefined ? <SheetNote id={id} phase={view.phase} problem={view.problem} /> : <Summary workflow={workflow} />}
      {workflow === undefined ? null : <StageList workflow={workflow} />}
      {view.answer === undefined ? null : (
        <>
          <TaskList tasks={view.answer.tasks} />
          <CommandList commands={view.answer.commands} />
          <EventList events={view.answer.events} />
        </>
      )}
      {view.phase === "error" && workflow !== undefined ? (
        <Note tone="warning">Not up to date: {view.problem}. It is read again.</Note>
      ) : null}
    </Side>
  );
}

function SheetNote({ id, phase, problem }: { readonly id: string; readonly phase: string; readonly problem: string }): JSX.Element {
  if (phase === "missing") {
    return (
      <Note tone="warning">
        There is no workflow <span class="mono">{id}</span>. It may never have been, or its history may be gone.
      </Note>
    );
  }
  return phase === "error" ? (
    <Note tone="critical">It could not be read: {problem}. It is asked for again.</Note>
  ) : (
    <Note>Reading the workflow…</Note>
  );
}

function Summary({ workflow }: { readonly workflow: Workflow }): JSX.Element {
  const { clock } = useStores();
  const start = timestampMs(workflow.startTime);
  const tokens = Number(workflow.usage?.inputTokens ?? 0) + Number(workflow.usage?.outputTokens ?? 0);
  return (
    <section class="summary">
      <div class="line">
        <WorkflowStateCell workflow={workflow} />
        <span class="weak">
          <Elapsed workflow={workflow} />
        </span>
        <ActNote workflow={workflow} />
      </div>
      <div class="line">
        <Actions workflow={workflow} words />
      </div>
      {workflow.error === undefined || workflow.state !== "WORKFLOW_STATE_FAILED" ? null : (
        <Note tone="critical">
          {workflow.error.message || "It failed"} <span class="mono faint">{workflow.error.code}</span>
        </Note>
      )}
      <dl class="facts">
        <Fact name="Id">
          <span class="mono">{workflow.id}</span>
        </Fact>
        <Fact name="Type">{workflow.workflowType || "–"}</Fact>
        <Fact name="Attempt">{workflow.attempt || "–"}</Fact>
        <Fact name="Engine">{workflow.source || "–"}</Fact>
        <Fact name="Agent">{workflow.agentId === "" ? "–" : <span class="mono">{workflow.agentId}</span>}</Fact>
        <Fact name="Started">
          {start === undefined ? "not yet" : `${when(start, clock.serverNow())} · `}
          <Since at={start} />
        </Fact>
        {tokens > 0 ? <Fact name="Tokens">{plural(tokens, "token")}</Fact> : null}
        {workflow.traceId === "" ? null : (
          <Fact name="Trace">
            <span class="mono">{workflow.traceId}</span>
          </Fact>
        )}
      </dl>
      <CliLine line={cliLine("get", workflow.id, "")} />
    </section>
  );
}

function Fact({ name, children }: { readonly name: string; readonly children: ComponentChildren }): JSX.Element {
  return (
    <div>
      <dt class="faint small">{name}</dt>
      <dd class="cut">{children}</dd>
    </div>
  );
}

function StageList({ workflow }: { readonly workflow: Workflow }): JSX.Element {
  const { clock } = useStores();
  const now = clock.now.value;
  const starts = workflow.stages.flatMap((stage) => timestampMs(stage.startTime) ?? []);
  const from = Math.min(timestampMs(workflow.startTime) ?? now, ...starts);
  const to = Math.max(timestampMs(workflow.endTime) ?? now, from + 1);
  return (
    <Part title="Stages" count={workflow.stages.length}>
      {workflow.stages.length === 0 ? <p class="weak">Its engine has reported no stages.</p> : null}
      <ol class="gantt">
        {workflow.stages.map((stage, index) => (
          <StageRow key={index} stage={stage} state={stageState(stage, workflow)} from={from} to={to} now={now} over={hasEnded(workflow)} />
        ))}
      </ol>
    </Part>
  );
}

function StageRow({
  stage,
  state,
  from,
  to,
  now,
  over,
}: {
  readonly stage: Stage;
  readonly state: WorkState;
  readonly from: number;
  readonly to: number;
  readonly now: number;
  readonly over: boolean;
}): JSX.Element {
  const look = workLook(state);
  // What an attempt before this one died of is over with it; its events tell it.
  const error = stage.state === "WORK_STATE_COMPLETED" ? undefined : stage.error;
  const still = over && stage.state === "WORK_STATE_QUEUED" ? "not run" : look.word.toLowerCase();
  const start = timestampMs(stage.startTime);
  const end = timestampMs(stage.endTime) ?? (start === undefined ? undefined : Math.min(now, to));
  const share = (at: number): number => Math.max(0, Math.min(100, ((at - from) / (to - from)) * 100));
  const took = durationMs(stage.duration) ?? (start === undefined || end === undefined ? undefined : end - start);
  return (
    <li title={error?.message ?? (start === undefined ? look.word : `${look.word} · from ${exactTime(start)}`)}>
      <Mark look={look} />
      <span class="cut">
        {stage.name}
        <span class="sr">, {look.word}</span>
      </span>
      <span class={`track tone-${look.tone}`}>
        {start === undefined || end === undefined ? null : (
          <i style={{ left: `${share(start)}%`, width: `${Math.max(0.8, share(end) - share(start))}%` }} />
        )}
      </span>
      <span class="number weak">{took === undefined ? still : durationText(took)}</span>
      {error === undefined ? null : <p class="tone-critical small">{error.message || error.code}</p>}
    </li>
  );
}

function TaskList({ tasks }: { readonly tasks: readonly Task[] }): JSX.Element | null {
  return tasks.length === 0 ? null : (
    <Part title="Tasks" count={tasks.length}>
      <ul class="lines">
        {tasks.map((task) => {
          const took = durationMs(task.duration);
          return (
            <li key={task.id} title={task.error?.message || task.message}>
              <Mark look={workLook(task.state)} />
              <span class="cut">
                {task.id} <span class="faint">{task.id.startsWith(task.stage) ? "" : task.stage}</span>
                {task.attempt > 1 ? <span class="tone-warning"> attempt {task.attempt}</span> : null}
              </span>
              <span class="mono faint cut">{task.agentId}</span>
              <span class="number weak">{took === undefined ? workLook(task.state).word.toLowerCase() : durationText(took)}</span>
            </li>
          );
        })}
      </ul>
    </Part>
  );
}

function CommandList({ commands }: { readonly commands: readonly Command[] }): JSX.Element | null {
  return commands.length === 0 ? null : (
    <Part title="Commands" count={commands.length}>
      <ul class="lines">
        {commands.map((command) => {
          const asked = timestampMs(command.requestTime);
          return (
            <li key={command.id} title={command.error?.message} data-testid="command-row" data-command-id={command.id}>
              <Mark look={commandLook(command.state)} />
              <span class="cut">
                {actionWords(command.action)?.label} {commandLook(command.state).word.toLowerCase()}
                <span class="faint">
                  {command.actor === "" ? "" : ` · by ${command.actor}`}
                  {command.reason === "" ? "" : ` · ${command.reason}`}
                  {command.error === undefined ? "" : ` · ${command.error.message}`}
                </span>
              </span>
              <span />
              <span class="number weak">
                <time title={asked === undefined ? "" : exactTime(asked)}>{asked === undefined ? "" : timeOfDay(asked)}</time>
              </span>
            </li>
          );
        })}
      </ul>
    </Part>
  );
}

function EventList({ events }: { readonly events: readonly Event[] }): JSX.Element {
  return (
    <Part title="Events" count={events.length}>
      <ul class="lines">
        {events.toReversed().map((event) => {
          const at = timestampMs(event.occurTime) ?? timestampMs(event.receiveTime) ?? 0;
          const words = narrate(event);
          return (
            <li key={event.id || event.cursor} title={exactTime(at)}>
              <Mark look={words} />
              <span class="cut">
                {words.title}
                <span class="weak">{words.rest === "" ? "" : ` · ${words.rest}`}</span>
              </span>
              <span />
              <time class="number faint">{timeOfDay(at, "millis")}</time>
            </li>
          );
        })}
      </ul>
    </Part>
  );
}
