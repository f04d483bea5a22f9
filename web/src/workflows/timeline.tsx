// Stages and their tasks of the newest attempt on one axis of time.
import type { JSX } from "preact";
import { durationText, exactTime, plural, timeOfDay } from "../core/format";
import { durationMs, timestampMs } from "../core/time";
import { workLook } from "../core/words";
import { hasEnded } from "../stores/workflows";
import { useStores } from "../ui/context";
import { Mark } from "../ui/mark";
import { Part } from "../ui/side";
import { stageState } from "../ui/workflow";
import type { Stage, Task, WorkState, Workflow } from "../core/wire";

const MOST_TASKS = 200;

interface Axis {
  readonly from: number;
  readonly to: number;
  readonly now: number;
  // Whether the workflow has ended, so that nothing of it goes on.
  readonly over: boolean;
}

export function Timeline({ workflow, tasks }: { readonly workflow: Workflow; readonly tasks: readonly Task[] }): JSX.Element {
  const { clock } = useStores();
  const now = clock.now.value;
  const shown = tasks.slice(0, MOST_TASKS);
  const starts = [...workflow.stages, ...shown].flatMap((each) => timestampMs(each.startTime) ?? []);
  const from = Math.min(timestampMs(workflow.startTime) ?? now, ...starts);
  const to = Math.max(timestampMs(workflow.endTime) ?? now, from + 1);
  const axis: Axis = { from, to, now, over: hasEnded(workflow) };
  const stages = new Set(workflow.stages.map((stage) => stage.name));
  const others = shown.filter((task) => !stages.has(task.stage));
  const counted = `${plural(workflow.stages.length, "stage")}, ${plural(tasks.length, "task")}`;
  return (
    <Part title="Timeline" count={counted} testId="timeline">
      {workflow.stages.length === 0 ? <p class="weak">Its engine has reported no stages.</p> : null}
      <ol class="gantt">
        {starts.length === 0 ? null : (
          <li class="axis faint small" aria-hidden="true">
            <span>
              <time>{timeOfDay(from)}</time> <time>{timeOfDay(to)}</time>
            </span>
          </li>
        )}
        {workflow.stages.map((stage, index) => {
          const of = shown.filter((task) => task.stage === stage.name);
          // What a task says need not be said twice.
          const said = of.some((task) => task.error !== undefined && task.error.message === stage.error?.message);
          return (
            <>
              <Row
                key={index}
                name={stage.name}
                work={said ? { ...stage, error: undefined } : stage}
                state={stageState(stage, workflow)}
                axis={axis}
              />
              {of.map((task) => (
                <TaskRow key={task.id} task={task} workflow={workflow} axis={axis} />
              ))}
            </>
          );
        })}
        {others.map((task) => (
          <TaskRow key={task.id} task={task} workflow={workflow} axis={axis} />
        ))}
      </ol>
      {tasks.length > shown.length ? <p class="weak small">{plural(tasks.length - shown.length, "more task")} not drawn</p> : null}
    </Part>
  );
}

function TaskRow({ task, workflow, axis }: { readonly task: Task; readonly workflow: Workflow; readonly axis: Axis }): JSX.Element {
  const name =
    task.id.startsWith(`${task.stage}`) && task.id.length > task.stage.length
      ? task.id.slice(task.stage.length).replace(/^\W+/, "")
      : task.id;
  const said = [task.agentId, task.attempt > 1 ? `attempt ${task.attempt}` : "", task.message].filter((each) => each !== "").join(" · ");
  return (
    <Row
      name={name || task.id}
      said={said}
      queued={timestampMs(task.queueTime)}
      work={task}
      state={stageState(task, workflow)}
      axis={axis}
      of={task.id}
    />
  );
}

interface RowProps {
  readonly name: string;
  readonly said?: string;
  // Of a task: since when it waited, and its id.
  readonly queued?: number | undefined;
  readonly of?: string;
  readonly work: Pick<Stage, "startTime" | "endTime" | "duration" | "state"> & { readonly error?: Stage["error"] | undefined };
  readonly state: WorkState;
  readonly axis: Axis;
}

function Row({ name, said = "", queued, of, work, state, axis }: RowProps): JSX.Element {
  const { to, now, over } = axis;
  const look = workLook(state);
  // What an attempt before this one died of is over with it; its events tell it.
  const error = work.state === "WORK_STATE_COMPLETED" ? undefined : work.error;
  const still = over && work.state === "WORK_STATE_QUEUED" ? "not run" : look.word.toLowerCase();
  const start = timestampMs(work.startTime);
  const end = timestampMs(work.endTime) ?? (start === undefined ? undefined : Math.min(now, to));
  const took = durationMs(work.duration) ?? (start === undefined || end === undefined ? undefined : end - start);
  const since = start === undefined ? "" : ` · from ${exactTime(start)}`;
  return (
    <li class={of === undefined ? "" : "task"} title={`${of ?? name}: ${look.word}${since}${said === "" ? "" : ` · ${said}`}`}>
      <Mark look={look} />
      <span class="cut">
        {name}
        <span class="sr">, {look.word}</span>
        {said === "" ? null : <span class="faint"> {said}</span>}
      </span>
      <span class={`track tone-${look.tone}`}>
        {queued === undefined ? null : <Bar from={queued} to={start ?? Math.min(now, to)} axis={axis} name="queued" />}
        {start === undefined || end === undefined ? null : <Bar from={start} to={end} axis={axis} />}
      </span>
      <span class="number weak">{took === undefined ? still : durationText(took)}</span>
      {error === undefined ? null : <p class="tone-critical small">{error.message || error.code}</p>}
    </li>
  );
}

function Bar({
  from,
  to,
  axis,
  name,
}: {
  readonly from: number;
  readonly to: number;
  readonly axis: Axis;
  readonly name?: string;
}): JSX.Element {
  const share = (at: number): number => Math.max(0, Math.min(100, ((at - axis.from) / (axis.to - axis.from)) * 100));
  return <i class={name} style={{ left: `${share(from)}%`, width: `${Math.max(0.6, share(to) - share(from))}%` }} />;
}
