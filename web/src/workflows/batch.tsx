// One batch by its own URL: what it would meet, its start by a typed count, how far it is, and what did not go as asked.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { count, durationText, plural, rate, when } from "../core/format";
import { timestampMs } from "../core/time";
import { actionWords, workflowLook } from "../core/words";
import { requestId } from "../stores/control";
import { Act } from "../ui/act";
import { Confirm } from "../ui/confirm";
import { useStores } from "../ui/context";
import { CliLine, TypedWord } from "../ui/dialog";
import { Submit } from "../ui/form";
import { Older, useList } from "../ui/listed";
import { useTask } from "../ui/lists";
import { Mark } from "../ui/mark";
import { Note, Since } from "../ui/panel";
import { Part, Side } from "../ui/side";
import type { Batch, BatchItem } from "../core/wire";
import { Following } from "./following";
import { useSelection } from "./selection";
import { FAILURES, batchLine, batchLook, countsOf, effectOn, isGivenUp, isOver, outcomeLook } from "./words";

export const batchTitle = (batch: Batch): string =>
  `${actionWords(batch.action)?.label ?? "Act on"} ${plural(Number(batch.size), "workflow")}`;

export function BatchSheet({ id }: { readonly id: string }): JSX.Element {
  const { base } = useStores();
  const following = useMemo(() => new Following(base, id), [id]);
  useEffect(() => following.show(), [id]);
  const { phase, batch, problem } = following.view.value;
  return (
    <Side
      title={batch === undefined ? "Batch" : batchTitle(batch)}
      label={`Batch ${id}`}
      testId="batch"
      marks={{ "data-state": batch === undefined ? "" : batchLook(batch.state).word, "data-batch-id": id }}
    >
      {phase === "missing" ? <Note tone="warning">There is no such batch: {problem}.</Note> : null}
      {phase === "loading" ? <Note>Reading the batch…</Note> : null}
      {phase === "broken" ? (
        <Note tone="warning">
          {batch === undefined ? "It could not be read" : "Not up to date"}: {problem}. It is asked for again.
        </Note>
      ) : null}
      {batch === undefined ? null : (
        <>
          <Summary batch={batch} following={following} />
          {batch.startTime === undefined ? null : <Failures batch={batch} />}
          <Preview batch={batch} />
          {batch.state === "BATCH_STATE_READY" ? <Start batch={batch} following={following} /> : null}
        </>
      )}
    </Side>
  );
}

function Summary({ batch, following }: { readonly batch: Batch; readonly following: Following }): JSX.Element {
  const { clock } = useStores();
  const look = batchLook(batch.state);
  const started = timestampMs(batch.startTime);
  const ended = timestampMs(batch.endTime);
  const left = countsOf(batch).find(([outcome]) => outcome === "BATCH_OUTCOME_WAITING")?.[1] ?? 0;
  return (
    <section class="summary">
      <p class="lined">
        <span class="state" role="status">
          <Mark look={look} /> {isGivenUp(batch) && !isOver(batch) ? "Given up; its last commands go on" : look.word}
        </span>
        {started === undefined ? null : (
          <span class="weak">
            {durationText(Math.max(0, (ended ?? clock.now.value) - started))}
            {batch.state === "BATCH_STATE_RUNNING" && left > 0 ? ` · about ${durationText((left / Number(batch.rate)) * 1000)} to go` : ""}
          </span>
        )}
      </p>
      {started === undefined ? null : <Progress batch={batch} words />}
      <p class="weak">
        {batch.actor || "Somebody"}, <Since at={timestampMs(batch.createTime)} />
        {batch.reason === "" ? "" : `: “${batch.reason}”`} · at most {rate(Number(batch.rate))} a second
      </p>
      {batch.filter === "" ? null : (
        <p>
          <code>{batch.filter}</code>
        </p>
      )}
      <Steer batch={batch} following={following} />
    </section>
  );
}

export function Progress({ batch, words = false }: { readonly batch: Batch; readonly words?: boolean }): JSX.Element {
  const counts = countsOf(batch);
  return (
    <>
      <span class="stages outcomes" role="img" aria-label={counts.map(([each, many]) => `${many} ${outcomeLook(each).word}`).join(", ")}>
        {counts.map(([outcome, many]) => {
          const { word, tone } = outcomeLook(outcome);
          const open = outcome === "BATCH_OUTCOME_WAITING" || outcome === "BATCH_OUTCOME_ABANDONED";
          return (
            <i
              key={outcome}
              class={`seg tone-${tone} ${open ? "" : "is-completed"}`}
              style={{ flexGrow: many }}
              title={`${many} ${word}`}
            />
          );
        })}
      </span>
      {words ? (
        <p class="legend" data-testid="batch-counts">
          {counts.map(([outcome, many]) => (
            <span key={outcome} class="state" data-outcome={outcome}>
              <Mark look={outcomeLook(outcome)} /> <b>{count(many)}</b> <span class="weak">{outcomeLook(outcome).word.toLowerCase()}</span>
            </span>
          ))}
        </p>
      ) : null}
    </>
  );
}

// What becomes of a batch that was started, with the reason that is kept.
const STEPS = {
  stop: { method: "BatchService/StopBatch", label: "Stop", effect: "No further command is given. Those that were given go on." },
  continue: { method: "BatchService/ContinueBatch", label: "Continue", effect: "Commands are given again, from where it stopped." },
  abandon: {
    method: "BatchService/AbandonBatch",
    label: "Give up",
    effect: "What has not had its turn never gets one. This cannot be undone; what was asked for goes on.",
  },
} as const;
type Step = keyof typeof STEPS;

function Steer({ batch, following }: { readonly batch: Batch; readonly following: Following }): JSX.Element | null {
  const { call } = useStores();
  const asked = useSignal<Step | undefined>(undefined);
  const running = batch.state === "BATCH_STATE_RUNNING";
  // One that was not started goes by itself.
  if (batch.state === "BATCH_STATE_READY" || isOver(batch) || isGivenUp(batch)) {
    return null;
  }
  const step = asked.value;
  return (
    <p class="acts" data-acts="">
      {([running ? "stop" : "continue", "abandon"] as const).map((each) => (
        <Act
          key={each}
          testId={`batch-${each}`}
          class={each === "abandon" ? "danger" : ""}
          refused=""
          hint={STEPS[each].effect}
          onClick={() => (asked.value = each)}
        >
          {STEPS[each].label}…
        </Act>
      ))}
      {step === undefined ? null : (
        <Confirm
          title={`${STEPS[step].label} this batch?`}
          label={STEPS[step].label}
          done={`${batchTitle(batch)}: ${STEPS[step].label.toLowerCase()} taken`}
          word={step === "abandon" ? "give up" : ""}
          cli={(reason) => batchLine(step, batch.id, [["reason", reason]])}
          act={async (reason) =>
            following.learn((await call(STEPS[step].method, { batchId: batch.id, reason, requestId: requestId() })).message.batch)
          }
          close={() => (asked.value = undefined)}
        >
          {STEPS[step].effect}
        </Confirm>
      )}
    </p>
  );
}

function Start({ batch, following }: { readonly batch: Batch; readonly following: Following }): JSX.Element {
  const { call, clock } = useStores();
  const typed = useSignal("");
  const task = useTask();
  const words = actionWords(batch.action);
  const expires = timestampMs(batch.expireTime);
  const right = typed.value.replaceAll(/\D/g, "") === batch.size;
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (right) {
      await task.run(async () =>
        following.learn(
          (await call("BatchService/StartBatch", { batchId: batch.id, confirmSize: batch.size, requestId: requestId() })).message.batch,
        ),
      );
    }
  };
  return (
    <form class="stack confirm-start" onSubmit={(event) => void submit(event)}>
      <p class={words?.verb === "cancel" ? "tone-critical" : "weak"}>{effectOn(batch.action)}</p>
      <TypedWord word={batch.size} typed={typed} testId="batch-size" />
      <CliLine line={batchLine("start", batch.id, [["confirm-size", batch.size]])} />
      <div class="tools">
        <Submit task={task} danger={words?.verb === "cancel"} obstacle={right ? "" : `Type ${batch.size} first`} testId="batch-start">
          {batchTitle(batch)}
        </Submit>
        {expires === undefined ? null : <span class="weak small">Can be started until {when(expires, clock.serverNow())}</span>}
      </div>
    </form>
  );
}

function Preview({ batch }: { readonly batch: Batch }): JSX.Element | null {
  const { route } = useStores();
  const { preview } = batch;
  if (preview === undefined) {
    return null;
  }
  const refused = Number(batch.size) - Number(preview.acceptable);
  return (
    <Part title={batch.startTime === undefined ? "What it would meet" : "What it was to meet"} testId="batch-preview-part">
      <p class="legend">
        {preview.states.map(({ state, count: many }) => (
          <span key={state} class="state">
            <Mark look={workflowLook(state)} /> <b>{count(Number(many))}</b>{" "}
            <span class="weak">{workflowLook(state).word.toLowerCase()}</span>
          </span>
        ))}
      </p>
      <p class="weak">{preview.types.map((each) => `${count(Number(each.count))} ${each.workflowType || "without a type"}`).join(" · ")}</p>
      <ul class="lines">
        <li>
          <Mark look={{ tone: "good", shape: "check" }} />
          <span data-testid="batch-acceptable">
            <b>{count(Number(preview.acceptable))}</b> would be taken
          </span>
        </li>
        {preview.commandsPending === "0" ? null : (
          <li>
            <Mark look={{ tone: "notice", shape: "dot" }} />
            <span>
              <b>{count(Number(preview.commandsPending))}</b> in flight: a command on them has not ended
            </span>
          </li>
        )}
        {preview.refusals.map((refusal, index) => (
          <li key={index} data-testid="batch-refusal">
            <Mark look={{ tone: "warning", shape: "cross" }} />
            <span>
              <b>{count(Number(refusal.count))}</b> would be refused: {refusal.message}{" "}
              {refusal.workflowIds.map((each) => (
                <a key={each} class="mono small" href={route.href({ tab: "", open: each })}>
                  {each}{" "}
                </a>
              ))}
            </span>
          </li>
        ))}
        {refused > 0 && preview.refusals.length === 0 ? <li>{count(refused)} would be refused</li> : null}
      </ul>
    </Part>
  );
}

const AGAIN_MS = 5_000;

// The report: each workflow that did not do what was asked, with why.
function Failures({ batch }: { readonly batch: Batch }): JSX.Element | null {
  const { call, route } = useStores();
  const selection = useSelection();
  const failed = countsOf(batch).reduce((sum, [outcome, many]) => sum + (FAILURES.includes(outcome) ? many : 0), 0);
  const list = useList<BatchItem>(
    async (pageToken, signal) => {
      const input = { batchId: batch.id, outcomes: [...FAILURES], pageSize: 100, pageToken };
      const { message } = await call("BatchService/ListBatchItems", input, signal);
      return { items: message.items, next: message.nextPageToken };
    },
    AGAIN_MS,
    batch.id,
  );
  useEffect(() => list.refresh(), [failed]);
  const { items, more } = list.view.value;
  if (failed === 0) {
    return isOver(batch) ? <Note tone="good">Every workflow did what was asked.</Note> : null;
  }
  const again = (): void => {
    selection.set(items.map((each) => each.workflowId));
    route.go({ tab: "", open: ":batch" });
  };
  return (
    <Part title="Did not do what was asked" count={failed} testId="batch-failures">
      <ul class="lines">
        {items.map((item) => (
          <li key={item.workflowId} title={item.error?.message} data-testid="batch-item" data-outcome={item.outcome}>
            <Mark look={outcomeLook(item.outcome)} />
            <span class="cut">
              <a class="mono" href={route.href({ tab: "", open: item.workflowId })}>
                {item.workflowId}
              </a>{" "}
              <span class="weak">
                {outcomeLook(item.outcome).word.toLowerCase()}
                {item.error === undefined ? "" : `: ${item.error.message}`}
              </span>
            </span>
          </li>
        ))}
      </ul>
      <Older list={list} />
      <p class="tools">
        {isOver(batch) ? (
          <button type="button" class="link" onClick={again}>
            Act on {more ? "these" : "them"} again…
          </button>
        ) : null}
      </p>
    </Part>
  );
}
