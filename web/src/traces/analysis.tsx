// What held a trace up, beside it: what its critical path was spent on, what removing something would save, what failed, and when it may end.
import { useComputed, useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { durationText, percent, plural, timeOfDay } from "../core/format";
import { jsonMs, timestampMs } from "../core/time";
import { Note } from "../ui/panel";
import { Part } from "../ui/side";
import type { Board } from "./board";
import { Canvas } from "./canvas";
import { KINDS, type Pen, kindWord } from "./draw";
import type { TimeKind, TimeShare, TraceAnalysis } from "./wire";
import { basisWords, outcomeWords } from "./words";

const FIRST = 6;

export function Swatch({ kind }: { readonly kind: TimeKind }): JSX.Element {
  const paint = ({ ctx, width, height, fill }: Pen): void => {
    ctx.fillStyle = fill(kind);
    ctx.fillRect(0, 0, width, height);
  };
  return <Canvas class="kind" paint={paint} />;
}

export function Legend(): JSX.Element {
  return (
    <p class="legend small weak">
      {KINDS.map(([kind, word]) => (
        <span key={kind}>
          <Swatch kind={kind} /> {word}
        </span>
      ))}
      <span>
        <i class="critical-key" /> critical path
      </span>
    </p>
  );
}

// The shares of a whole in their patterns, one after another.
export function Split({ shares, words = false }: { readonly shares: readonly TimeShare[]; readonly words?: boolean }): JSX.Element {
  const paint = ({ ctx, width, height, fill }: Pen): void => {
    const whole = shares.reduce((sum, { duration }) => sum + jsonMs(duration), 0) || 1;
    shares.reduce((left, { kind, duration }) => {
      const wide = (jsonMs(duration) / whole) * width;
      ctx.fillStyle = fill(kind);
      ctx.fillRect(left, 0, Math.max(wide - 1, 0.5), height);
      return left + wide;
    }, 0);
  };
  const said = shares.map(({ kind, duration }) => `${kindWord(kind)} ${durationText(jsonMs(duration))}`).join(", ");
  return (
    <>
      <Canvas class="split" paint={paint} title={said} />
      {words ? null : <span class="sr">{said}</span>}
    </>
  );
}

export function Analysis({ board, analysis }: { readonly board: Board; readonly analysis: TraceAnalysis | undefined }): JSX.Element {
  if (analysis === undefined) {
    return <Note>Looking where the time went…</Note>;
  }
  const { unavailableReason, timeSplit, basis } = analysis;
  return (
    <div data-testid="analysis" data-basis={basis} data-complete={analysis.complete}>
      {unavailableReason === "" ? (
        <Part title="Critical path" count={durationText(jsonMs(analysis.untilOffset))} testId="time-split">
          <Split shares={timeSplit} words />
          <ul class="shares">
            {timeSplit.map(({ kind, duration, share }) => (
              <li key={kind} data-kind={kind}>
                <Swatch kind={kind} />
                <span>{kindWord(kind)}</span>
                <span class="number">{durationText(jsonMs(duration))}</span>
                <span class="number weak">{share === undefined ? "" : `${percent(Number(share))} %`}</span>
              </li>
            ))}
          </ul>
          <p class="small faint">{basisWords(basis)}.</p>
        </Part>
      ) : (
        <Note tone="warning">No critical path: {unavailableReason}</Note>
      )}
      <Estimate analysis={analysis} />
      <Bottlenecks board={board} analysis={analysis} />
      <Recoveries board={board} analysis={analysis} />
    </div>
  );
}

function Estimate({
  analysis: { estimate, estimateUnavailableReason: why, complete },
}: {
  readonly analysis: TraceAnalysis;
}): JSX.Element | null {
  const at = (time: string | undefined): string => timeOfDay(timestampMs(time) ?? 0);
  return complete ? null : (
    <Part title="May end" testId="estimate">
      {estimate === undefined ? (
        <p class="weak">{why || "Not known"}</p>
      ) : (
        <p>
          around <b>{at(estimate.endTime)}</b>
          <span class="weak">
            {" "}
            · eight in ten between {at(estimate.earliestTime)} and {at(estimate.latestTime)}, judged by{" "}
            {plural(estimate.runCount, "past run")}
          </span>
        </p>
      )}
    </Part>
  );
}

function Bottlenecks({ board, analysis }: { readonly board: Board; readonly analysis: TraceAnalysis }): JSX.Element | null {
  const { bottlenecks } = analysis;
  const more = useSignal(false);
  const shown = more.value ? bottlenecks : bottlenecks.slice(0, FIRST);
  return bottlenecks.length === 0 ? null : (
    <Part title="Bottlenecks" count={bottlenecks.length} testId="bottlenecks">
      <ol class="ranked">
        {shown.map((each, index) => (
          <Ranked key={index} board={board} ids={each.spanIds} testId="bottleneck">
            <Swatch kind={each.kind} />
            <span>
              {each.label}
              <small class="weak">
                {durationText(jsonMs(each.criticalDuration))} of the critical path; without it the end is{" "}
                <b>{durationText(jsonMs(each.saving))}</b> sooner
              </small>
            </span>
          </Ranked>
        ))}
      </ol>
      {shown.length < bottlenecks.length ? (
        <button type="button" class="link small" onClick={() => (more.value = true)}>
          {plural(bottlenecks.length - shown.length, "smaller one")}
        </button>
      ) : null}
    </Part>
  );
}

function Recoveries({ board, analysis }: { readonly board: Board; readonly analysis: TraceAnalysis }): JSX.Element | null {
  const { recoveries, recoveryCount } = analysis;
  return recoveries.length === 0 ? null : (
    <Part title="What failed" count={recoveryCount} testId="recoveries">
      <ol class="ranked">
        {recoveries.map((each) => (
          <Ranked key={each.spanId} board={board} ids={[each.spanId]} testId="recovery">
            <Swatch kind="TIME_KIND_RETRY" />
            <span>
              {each.name || each.taskId || each.stage}
              <small class="weak">
                {plural(each.failures, "failure")} in {plural(each.attempts, "attempt")}, {outcomeWords(each.outcome)}; cost{" "}
                {durationText(jsonMs(each.lostDuration))}
              </small>
              {each.firstError === undefined ? null : (
                <small class="tone-critical">{each.firstError.message || each.firstError.code}</small>
              )}
            </span>
          </Ranked>
        ))}
      </ol>
    </Part>
  );
}

interface RankedProps {
  readonly board: Board;
  readonly ids: readonly string[];
  readonly testId: string;
  readonly children: ComponentChildren;
}

// Chosen, its spans are marked; chosen again, they are not.
function Ranked({ board, ids, testId, children }: RankedProps): JSX.Element {
  const on = useComputed(() => ids.length > 0 && board.marked.value.size === ids.length && ids.every((id) => board.marked.value.has(id)));
  return (
    <li>
      <button type="button" aria-pressed={on.value} onClick={() => board.mark(on.value ? [] : ids)} data-testid={testId}>
        {children}
      </button>
    </li>
  );
}
