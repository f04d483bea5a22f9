// The parts that a workflow is shown by, the same in every table and in the side sheet.
import type { JSX } from "preact";
import { durationText, exactTime, plural, timeOfDay } from "../core/format";
import { durationMs, timestampMs } from "../core/time";
import { OFFERED, actionWords, nameOf, workLook, workflowLook } from "../core/words";
import { type Act as ActRecord, actWords, isOver } from "../stores/commands";
import { hasEnded } from "../stores/workflows";
import { Act } from "./act";
import { useStores } from "./context";
import { Mark, Picture } from "./mark";
import type { ControlAction, Stage, WorkState, Workflow } from "../core/wire";

export const stateName = (workflow: Workflow): string => nameOf(workflow.state, "WORKFLOW_STATE");

export function WorkflowStateCell({ workflow }: { readonly workflow: Workflow }): JSX.Element {
  const look = workflowLook(workflow.state);
  return (
    <span class="state" data-testid="workflow-state">
      <Mark look={look} /> {look.word}
      {workflow.forced ? (
        <em
          class="chip"
          title="An operator wrote its end in place of its engine; any report of the engine overrules it"
          data-testid="forced"
        >
          forced
        </em>
      ) : null}
    </span>
  );
}

// A click anywhere on the row opens the same; a link can also be reached by Tab, and copied.
export function WorkflowLink({ workflow }: { readonly workflow: Workflow }): JSX.Element {
  const { route } = useStores();
  return (
    <a class="name" href={route.href({ open: workflow.id })}>
      {workflow.workflowName || <span class="mono">{workflow.id}</span>}
    </a>
  );
}

const OUTCOME_SHOWN_MS = 20_000;
const REFUSAL_SHOWN_MS = 60_000;

// What became of a request, beside the state and never in place of it.
export function ActNote({ workflow }: { readonly workflow: Workflow }): JSX.Element | null {
  const { commands, clock } = useStores();
  const act = commands.get(workflow.id);
  if (
    act === undefined ||
    (isOver(act.phase) && clock.now.value - (act.at ?? 0) > (act.phase === "effective" ? OUTCOME_SHOWN_MS : REFUSAL_SHOWN_MS))
  ) {
    return null;
  }
  const tone = act.phase === "effective" ? "good" : isOver(act.phase) ? "critical" : "notice";
  return (
    <span class={`act-note tone-${tone}`} title={noteTitle(act)} data-testid="act-note" data-phase={act.phase}>
      {actWords(act)}
      {act.phase === "effective" && act.at !== undefined ? ` ${timeOfDay(act.at)}` : ""}
      {act.words === "" ? "" : `: ${act.words}`}
    </span>
  );
}

function noteTitle(act: ActRecord): string {
  const when = act.at === undefined ? "" : ` · ${exactTime(act.at)}`;
  return `${actWords(act)}${act.words === "" ? "" : `: ${act.words}`}${when}`;
}

// Where a workflow has ended, nothing of it runs: a stage without an end was cut off with it.
export function stageState(stage: Pick<Stage, "state">, workflow: Workflow): WorkState {
  const open = stage.state === "WORK_STATE_RUNNING" || stage.state === "WORK_STATE_ASSIGNED" || stage.state === "WORK_STATE_RETRYING";
  return open && hasEnded(workflow) ? "WORK_STATE_CANCELLED" : stage.state;
}

export function Stages({ workflow }: { readonly workflow: Workflow }): JSX.Element {
  const { stages } = workflow;
  if (stages.length === 0) {
    return (
      <span class="faint small" title="Its engine has reported no stages">
        no stages
      </span>
    );
  }
  const done = stages.filter((stage) => stage.state === "WORK_STATE_COMPLETED" || stage.state === "WORK_STATE_SKIPPED").length;
  const words = `${done} of ${plural(stages.length, "stage")}${workflow.currentStage === "" ? "" : `, now ${workflow.currentStage}`}`;
  return (
    <span class="stages" role="img" aria-label={words} title={words}>
      {stages.map((stage, index) => {
        const state = stageState(stage, workflow);
        return <i key={index} class={`seg is-${nameOf(state, "WORK_STATE").toLowerCase()} tone-${workLook(state).tone}`} />;
      })}
    </span>
  );
}

export function Elapsed({ workflow }: { readonly workflow: Workflow }): JSX.Element {
  const { clock } = useStores();
  const start = timestampMs(workflow.startTime);
  const ended = durationMs(workflow.duration);
  if (ended !== undefined) {
    return <span>{durationText(ended)}</span>;
  }
  if (start === undefined || workflow.endTime !== undefined) {
    return <span class="faint">–</span>;
  }
  const elapsed = Math.max(0, clock.now.value - start);
  // Whole seconds: what grows under the eye needs no tenths.
  return <span>{elapsed < 1_000 ? "0 s" : durationText(elapsed < 60_000 ? Math.floor(elapsed / 1000) * 1000 : elapsed)}</span>;
}

// The acts that make sense where there is room for two: the one that the state calls for, and the end.
export function shortlist(workflow: Workflow): readonly ControlAction[] {
  if (workflow.state === "WORKFLOW_STATE_FAILED") {
    return ["CONTROL_ACTION_RETRY", "CONTROL_ACTION_CANCEL"];
  }
  return [workflow.state === "WORKFLOW_STATE_PAUSED" ? "CONTROL_ACTION_RESUME" : "CONTROL_ACTION_PAUSE", "CONTROL_ACTION_CANCEL"];
}

interface ActionsProps {
  readonly workflow: Workflow;
  readonly offered?: readonly ControlAction[];
  readonly words?: boolean;
}

export function Actions({ workflow, offered = OFFERED, words = false }: ActionsProps): JSX.Element {
  const { control, commands } = useStores();
  const act = commands.get(workflow.id);
  const sending = act?.phase === "sending" ? "A request is on its way" : "";
  return (
    <span class="acts" data-acts="">
      {offered.map((action) => {
        const known = actionWords(action);
        if (known === undefined) {
          return null;
        }
        const may = workflow.actions.find((each) => each.action === action);
        const refused =
          sending || (may === undefined ? "The server does not offer this" : may.available ? "" : may.reason || "Not possible now");
        const name = workflow.workflowName || workflow.id;
        return (
          <Act
            key={action}
            testId={`action-${known.verb}`}
            class={`${words ? "" : "icon"} ${known.verb === "cancel" ? "danger" : ""}`}
            label={words ? undefined : `${known.label} ${name}`}
            refused={refused}
            hint={`${known.label} ${name}`}
            onClick={() => control.ask(workflow, action)}
          >
            <Picture icon={known.verb} />
            {words ? known.label : null}
          </Act>
        );
      })}
    </span>
  );
}
