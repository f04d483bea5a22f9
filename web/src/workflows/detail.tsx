// One workflow, beside what was there or as a page of its own: the same parts, live, in one column or two.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { plural, when } from "../core/format";
import type { Route, TimeRange } from "../core/route";
import { timestampMs } from "../core/time";
import { cliLine, cliOf, nameOf } from "../core/words";
import { requestId } from "../stores/control";
import { hasEnded } from "../stores/workflows";
import { Confirm } from "../ui/confirm";
import { useStores } from "../ui/context";
import { CliLine } from "../ui/dialog";
import { Choice } from "../ui/form";
import { Fact } from "../ui/listed";
import { Note, Since } from "../ui/panel";
import { Side } from "../ui/side";
import { ActNote, Actions, Elapsed, WorkflowStateCell, stateName } from "../ui/workflow";
import type { GetWorkflowResponse, Workflow } from "../core/wire";
import { Audit, Budgets, Commands, Events } from "./records";
import { Timeline } from "./timeline";
import { Why } from "./waiting";
import { money } from "./words";

interface Known {
  readonly workflow: Workflow | undefined;
  readonly answer: GetWorkflowResponse | undefined;
  readonly title: string;
  readonly marks: Readonly<Record<`data-${string}`, string>>;
}

function useKnown(id: string): Known {
  const { workflows, detail } = useStores();
  const { answer } = detail.view.value;
  const workflow = workflows.get(id) ?? answer?.workflow;
  const state = workflow === undefined ? "" : stateName(workflow);
  return { workflow, answer, title: workflow?.workflowName || id, marks: { "data-workflow-id": id, "data-state": state } };
}

export function WorkflowSheet(): JSX.Element | null {
  const { route } = useStores();
  const id = route.workflow.value;
  return id === "" ? null : <Sheet key={id} id={id} />;
}

function Sheet({ id }: { readonly id: string }): JSX.Element {
  const { route } = useStores();
  const known = useKnown(id);
  const page = (
    <a class="small" href={route.href({ page: "workflows", tab: "run", open: id })} data-testid="open-page">
      Full page
    </a>
  );
  return (
    <Side title={known.title} label={`Workflow ${id}`} testId="sheet" marks={known.marks} aside={page}>
      <Story id={id} {...known} />
      <Records {...known} />
    </Side>
  );
}

export function RunPage({ id }: { readonly id: string }): JSX.Element {
  const known = useKnown(id);
  return (
    <div class="run" data-testid="run" {...known.marks}>
      <section class="panel" aria-label={`Workflow ${id}`} tabIndex={0}>
        <h2 class="cut">{known.title}</h2>
        <Story id={id} {...known} />
      </section>
      <section class="panel" aria-label="Records" tabIndex={0}>
        <Records {...known} />
      </section>
    </div>
  );
}

function Story({ id, workflow, answer }: Known & { readonly id: string }): JSX.Element {
  const { phase, problem } = useStores().detail.view.value;
  if (workflow === undefined) {
    return phase === "missing" ? (
      <Note tone="warning">
        There is no workflow <span class="mono">{id}</span>. It may never have been, or its history may be gone.
      </Note>
    ) : phase === "error" ? (
      <Note tone="critical">It could not be read: {problem}. It is asked for again.</Note>
    ) : (
      <Note>Reading the workflow…</Note>
    );
  }
  return (
    <>
      {phase === "error" ? <Note tone="warning">Not up to date: {problem}. It is read again.</Note> : null}
      <Summary workflow={workflow} />
      <Timeline workflow={workflow} tasks={answer?.tasks ?? []} />
    </>
  );
}

function Records({ workflow, answer }: Known): JSX.Element | null {
  return workflow === undefined || answer === undefined ? null : (
    <>
      <Budgets id={workflow.id} version={answer} />
      <Commands commands={answer.commands} />
      <Audit id={workflow.id} version={answer} />
      <Events events={answer.events} />
    </>
  );
}

const DAY_MS = 86_400_000;

function eventsOf({ id, createTime, endTime }: Workflow): Partial<Route> {
  const end = timestampMs(endTime);
  const from = timestampMs(createTime);
  const range: TimeRange =
    end === undefined || from === undefined ? { kind: "last", ms: DAY_MS } : { kind: "fixed", from: from - 60_000, to: end + 60_000 };
  return { page: "events", tab: "", open: "", state: "", filter: `workflow_id = ${JSON.stringify(id)}`, range };
}

function Summary({ workflow }: { readonly workflow: Workflow }): JSX.Element {
  const { clock, route } = useStores();
  const start = timestampMs(workflow.startTime);
  const tokens = Number(workflow.usage?.inputTokens ?? 0) + Number(workflow.usage?.outputTokens ?? 0);
  const cost = Number(workflow.usage?.costMicros ?? 0);
  return (
    <section class="summary">
      <div class="lined">
        <WorkflowStateCell workflow={workflow} />
        <span class="weak">
          <Elapsed workflow={workflow} />
        </span>
        <a href={route.href({ page: "traces", tab: "trace", open: workflow.id, filter: "", state: "" })} data-testid="workflow-trace">
          Trace
        </a>
        <a href={route.href(eventsOf(workflow))} data-testid="workflow-events">
          Events
        </a>
        <ActNote workflow={workflow} />
      </div>
      <Why workflow={workflow} whole />
      <div class="lined">
        <Actions workflow={workflow} words />
      </div>
      {workflow.error === undefined || workflow.state !== "WORKFLOW_STATE_FAILED" ? null : (
        <Note tone="critical">
          {workflow.error.message || "It failed"} <span class="mono faint">{workflow.error.code}</span>
        </Note>
      )}
      {workflow.forced ? (
        <Note tone="warning">An operator wrote this end in place of its engine. Any later report of the engine overrules it.</Note>
      ) : null}
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
        {tokens > 0 ? <Fact name="Used">{plural(tokens, "token")}</Fact> : null}
        {cost > 0 ? <Fact name="Cost">{money(cost)}</Fact> : null}
        {workflow.traceId === "" ? null : (
          <Fact name="Trace">
            <span class="mono">{workflow.traceId}</span>
          </Fact>
        )}
      </dl>
      <CliLine line={cliLine("get", workflow.id, "")} />
      {hasEnded(workflow) ? null : <Close workflow={workflow} />}
    </section>
  );
}

type Ending = "WORKFLOW_STATE_FAILED" | "WORKFLOW_STATE_CANCELLED";
const ENDINGS: readonly (readonly [Ending, string])[] = [
  ["WORKFLOW_STATE_FAILED", "Failed"],
  ["WORKFLOW_STATE_CANCELLED", "Cancelled"],
];

// The one act that needs no engine, for the day on which there is none any more.
function Close({ workflow }: { readonly workflow: Workflow }): JSX.Element {
  const { call } = useStores();
  const asked = useSignal(false);
  const state = useSignal<Ending>("WORKFLOW_STATE_FAILED");
  const { id } = workflow;
  const cli = (reason: string): string =>
    cliOf("workflows close", id, [
      ["state", nameOf(state.value, "WORKFLOW_STATE").toLowerCase()],
      ["reason", reason],
    ]);
  return (
    <p class="small faint">
      Its engine is gone for good?{" "}
      <button type="button" class="link" onClick={() => (asked.value = true)} data-testid="close-workflow">
        Close it by force…
      </button>
      {asked.value ? (
        <Confirm
          title={`Close “${workflow.workflowName || id}” by force?`}
          label="Write its end"
          done={`Recorded in place of ${workflow.source}: the end of ${workflow.workflowName || id}`}
          word={id}
          reasoned="needed"
          cli={cli}
          act={(reason) =>
            call("WorkflowService/CloseWorkflow", {
              workflowId: id,
              state: state.value,
              reason,
              requestId: requestId(),
              etag: workflow.etag,
            })
          }
          close={() => (asked.value = false)}
        >
          <p>
            Nothing is asked of the engine “{workflow.source}”: you write the end in its place. It is marked as forced everywhere, and any
            later report of the engine overrules it. For administrators, and only while the engine is not connected.
          </p>
          <label>
            <span>It ended as</span>
            <Choice value={state.value} set={(value) => (state.value = value)} of={ENDINGS} testId="close-state" />
          </label>
        </Confirm>
      ) : null}
    </p>
  );
}
