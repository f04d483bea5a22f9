// One trace: its rows, and beside them what held it up or the span that is open.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { durationText, exactTime, plural, sentence, when } from "../core/format";
import { formatZoom, parseZoom } from "../core/route";
import { durationMs, timestampMs } from "../core/time";
import { nameOf, workflowLook } from "../core/words";
import { useStores } from "../ui/context";
import { useList } from "../ui/listed";
import { useTask } from "../ui/lists";
import { Mark } from "../ui/mark";
import { Note } from "../ui/panel";
import { Analysis, Legend } from "./analysis";
import { Board } from "./board";
import { takePicture, writeDown } from "./export";
import { FollowedTrace } from "./following";
import { Gantt } from "./gantt";
import { SpanPanel } from "./span";
import { spanNamed } from "./tree";
import { within } from "./window";
import type { Trace } from "./wire";
import { MEDIAN, joined } from "./words";

const RUNS_MS = 3_000;
const ENDED_MS = 60_000;

export function TracePage(): JSX.Element {
  const id = useStores().route.open.value;
  return <OneTrace key={id} id={id} />;
}

function OneTrace({ id }: { readonly id: string }): JSX.Element {
  const { base } = useStores();
  const following = useMemo(() => new FollowedTrace(base, id), []);
  useEffect(() => following.show(), []);
  const { phase, trace, problem } = following.view.value;
  if (trace === undefined) {
    return phase === "missing" ? (
      <Note tone="warning">{problem}</Note>
    ) : phase === "broken" ? (
      <Note tone="critical">The trace could not be read: {problem}. It is asked for again.</Note>
    ) : (
      <Note>Reading the trace…</Note>
    );
  }
  return <Known id={id} following={following} trace={trace} />;
}

interface KnownProps {
  readonly id: string;
  readonly following: FollowedTrace;
  readonly trace: Trace;
}

function Known({ id, following, trace }: KnownProps): JSX.Element {
  const { route, call, clock } = useStores();
  const board = useMemo(() => new Board(), []);
  const { tree, phase, problem } = following.view.value;
  const runs = trace.endTime === undefined;
  const startMs = timestampMs(trace.startTime) ?? 0;
  const until = durationMs(trace.duration) ?? Math.max(0, clock.now.value - startMs);
  const analysis = useList(
    async (_token, signal) => ({ items: [(await call("TraceService/AnalyzeTrace", { id }, signal)).message] }),
    runs ? RUNS_MS : ENDED_MS,
    `${runs} ${runs ? "" : trace.revision}`,
  ).view.value;
  board.tree.value = tree;
  board.until.value = until;
  board.analysis.value = analysis.items[0] ?? board.analysis.peek();
  useZoom(board);
  const span = spanNamed(tree, route.span.value);
  const revealed = useRef("");
  useEffect(() => {
    if (span !== revealed.current && (span === "" || tree.at.has(span))) {
      revealed.current = span;
      board.reveal(span);
    }
  }, [span, tree]);
  const open = (each: string): void => {
    revealed.current = each;
    route.go({ span: each });
  };
  return (
    <div class="trace" data-testid="trace" data-id={id} data-state={nameOf(trace.state, "WORKFLOW_STATE")} data-spans={tree.spans.length}>
      <section class="panel gantt-panel" aria-label={`Trace ${trace.name || id}`}>
        <Head trace={trace} board={board} until={until} />
        {phase === "broken" ? <Note tone="warning">Not up to date: {problem}. It is read again.</Note> : null}
        <Problems trace={trace} board={board} />
        <Gantt board={board} runs={runs} open={open} />
        <Legend />
      </section>
      <section class="panel" aria-label={span === "" ? "Analysis" : "Span"}>
        <div class="body" tabIndex={0}>
          {span === "" ? (
            analysis.phase === "error" && analysis.items.length === 0 ? (
              <Note tone="warning">No analysis: {analysis.problem}</Note>
            ) : (
              <Analysis board={board} analysis={board.analysis.value} />
            )
          ) : (
            <SpanPanel key={span} trace={trace} board={board} id={span} startMs={startMs} />
          )}
        </div>
      </section>
    </div>
  );
}

const SETTLED_MS = 250;

// The piece of time that is in view is in the URL, once it rests there for a moment: a wheel turns many times a second.
function useZoom(board: Board): void {
  const { route } = useStores();
  const zoom = route.zoom.value;
  const said = useRef("");
  useEffect(() => {
    if (zoom !== said.current) {
      const piece = parseZoom(zoom);
      said.current = zoom;
      board.chosen.value = piece === undefined ? undefined : within(piece, board.full.peek());
    }
  }, [zoom]);
  const chosen = board.chosen.value;
  useEffect(() => {
    const timer = setTimeout(() => {
      said.current = formatZoom(board.chosen.peek());
      route.refine({ zoom: said.current });
    }, SETTLED_MS);
    return () => clearTimeout(timer);
  }, [chosen]);
}

function Head({ trace, board, until }: { readonly trace: Trace; readonly board: Board; readonly until: number }): JSX.Element {
  const { clock, route } = useStores();
  const start = timestampMs(trace.startTime) ?? 0;
  const look = workflowLook(trace.state);
  return (
    <header>
      <h2 class="cut">{trace.name || trace.id}</h2>
      <span class="state">
        <Mark look={look} /> {look.word}
      </span>
      <span class="weak">
        <b data-testid="trace-duration">{durationText(until)}</b>{" "}
        <span class="small" title={exactTime(start)}>
          from {when(start, clock.serverNow())} · {plural(board.tree.value.spans.length, "span")}
          {(trace.errorCount ?? 0) > 0 ? `, ${trace.errorCount} failed` : ""}
        </span>
      </span>
      <div class="aside tools wrap">
        {trace.workflowId === "" ? null : (
          <>
            <a
              href={route.href({ page: "workflows", tab: "run", filter: "", state: "", open: trace.workflowId })}
              data-testid="trace-workflow"
            >
              Workflow
            </a>
            <a href={route.href({ tab: "compare", open: joined([trace.id, MEDIAN]) })} data-testid="trace-median">
              Compare with the median
            </a>
            <a href={route.href({ tab: "types", open: trace.workflowType })}>Type {trace.workflowType}</a>
          </>
        )}
        <Views board={board} />
        <Export trace={trace} board={board} />
      </div>
    </header>
  );
}

// What keys do, for a pointer and a finger.
function Views({ board }: { readonly board: Board }): JSX.Element {
  const all: readonly (readonly [string, string, string])[] = [
    ["+", "+", "Closer (+)"],
    ["-", "−", "Farther (-)"],
    ["0", "All", "All of the time (0)"],
    ["[", "Fold", "Fold all that is below the first ([)"],
    ["]", "Unfold", "Unfold all (])"],
  ];
  return (
    <span class="tools">
      {all.map(([key, word, title]) => (
        <button key={key} type="button" class="button" title={title} aria-label={title} onClick={() => board.key(key, false)}>
          {word}
        </button>
      ))}
    </span>
  );
}

function Export({ trace, board }: { readonly trace: Trace; readonly board: Board }): JSX.Element {
  const { base, messages } = useStores();
  const task = useTask();
  const chosen = useSignal("");
  const write = async (what: string): Promise<void> => {
    const runs = trace.endTime === undefined;
    const done = await task.run(() =>
      what === "png"
        ? takePicture(board, runs, trace.name || trace.id, Math.max(0, board.row.peek() < 600 ? 0 : board.row.peek()))
        : writeDown(
            base,
            trace.id,
            what === "jaeger" ? "TRACE_FORMAT_JAEGER_JSON" : "TRACE_FORMAT_OTLP_JSON",
            new AbortController().signal,
          ),
    );
    chosen.value = "";
    if (!done) {
      messages.say("critical", "The trace could not be exported", task.view.peek().problem);
    }
  };
  return (
    <select
      class="bare"
      aria-label="Export"
      value={chosen.value}
      disabled={task.view.value.busy}
      onChange={(event) => {
        chosen.value = event.currentTarget.value;
        void write(chosen.value);
      }}
      data-testid="trace-export"
    >
      <option value="">Export…</option>
      <option value="otlp">OTLP JSON</option>
      <option value="jaeger">Jaeger JSON</option>
      <option value="png">Picture (PNG)</option>
    </select>
  );
}

function Problems({ trace, board }: { readonly trace: Trace; readonly board: Board }): JSX.Element | null {
  return trace.problems.length + trace.skews.length === 0 ? null : (
    <ul class="problems small" data-testid="problems">
      {trace.skews.map((skew) => (
        <li key={`${skew.source} ${skew.againstSource}`} data-kind="skew">
          <Mark look={{ tone: "warning", shape: "diamond" }} /> The clock of {skew.source} is at least{" "}
          {durationText(Math.abs(durationMs(skew.offset) ?? 0))} {(durationMs(skew.offset) ?? 0) < 0 ? "behind" : "ahead of"} that of{" "}
          {skew.againstSource}: {skew.evidence}. Times are shown as reported.
        </li>
      ))}
      {trace.problems
        .filter(({ kind }) => kind !== "TRACE_PROBLEM_KIND_CLOCK_SKEW")
        .map(({ kind, message, spanIds }) => (
          <li key={kind} data-kind={kind}>
            <Mark look={{ tone: "warning", shape: "diamond" }} /> {sentence(message)}{" "}
            {spanIds.length === 0 ? null : (
              <button type="button" class="link" onClick={() => board.mark(spanIds)}>
                Show
              </button>
            )}
          </li>
        ))}
    </ul>
  );
}
