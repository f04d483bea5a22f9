// One span: all that is known of it, and where else to look.
import type { JSX } from "preact";
import { count, durationText, exactTime } from "../core/format";
import { jsonMs } from "../core/time";
import { workLook } from "../core/words";
import { useStores } from "../ui/context";
import { Copy } from "../ui/copy";
import { Fact, useList } from "../ui/listed";
import { Mark, Picture } from "../ui/mark";
import { Note } from "../ui/panel";
import { Part } from "../ui/side";
import { money } from "../workflows/words";
import type { Board } from "./board";
import { Swatch } from "./analysis";
import type { Span, Trace } from "./wire";
import { kindOf, waitWords } from "./words";

const EVERY_MS = 10_000;

interface SpanProps {
  readonly trace: Trace;
  readonly board: Board;
  readonly id: string;
  readonly startMs: number;
}

export function SpanPanel({ trace, board, id, startMs }: SpanProps): JSX.Element {
  const { call, route } = useStores();
  // Attributes are asked for when they are looked at: a trace has too many of them.
  const full = useList(
    async (_token, signal) => ({
      items: (await call("TraceService/GetTrace", { id: trace.id, spanIds: [id], view: "SPAN_VIEW_FULL" }, signal)).message.spans,
    }),
    EVERY_MS,
    id,
  );
  const tree = board.tree.value;
  const at = tree.at.get(id) ?? -1;
  const span = tree.spans[at];
  return (
    <div class="span-panel" data-testid="span" data-id={id} data-state={span?.state}>
      <header>
        <h2 class="cut">{span === undefined ? id : span.name || id}</h2>
        <button
          type="button"
          class="button icon"
          onClick={() => route.go({ span: "" })}
          aria-label="Close"
          title="Close (Esc)"
          data-testid="span-close"
        >
          <Picture icon="close" />
        </button>
      </header>
      {span === undefined ? (
        <Note tone="warning">This trace has no span {id}, or not any more.</Note>
      ) : (
        <Known {...{ span, board, at, startMs }} attributes={full.view.value.items[0]?.attributes ?? {}} />
      )}
    </div>
  );
}

interface KnownProps {
  readonly span: Span;
  readonly board: Board;
  readonly at: number;
  readonly startMs: number;
  readonly attributes: Readonly<Record<string, string>>;
}

function Known({ span, board, at, startMs, attributes }: KnownProps): JSX.Element {
  const until = board.until.value;
  const tree = board.tree.value;
  const critical = board.path.value.share[at] ?? 0;
  const start = tree.start[at] as number;
  const tokens = Number(span.usage?.inputTokens ?? 0) + Number(span.usage?.outputTokens ?? 0);
  const cost = Number(span.usage?.costMicros ?? 0);
  return (
    <>
      <p>
        <Mark look={workLook(span.state)} /> {workLook(span.state).word} <span class="weak">{kindOf(span)}</span>
      </p>
      {span.error === undefined ? null : (
        <Note tone="critical">
          {span.error.message} <span class="mono faint">{span.error.code}</span>
        </Note>
      )}
      <dl class="facts">
        <Fact name="Took">{durationText(Math.min(tree.end[at] as number, until) - start)}</Fact>
        <Fact name="Critical path">{critical === 0 ? "not on it" : durationText(critical)}</Fact>
        <Fact name="Slack">{span.slack === undefined ? "not known" : durationText(jsonMs(span.slack))}</Fact>
        <Fact name={span.startEstimated ? "Began before" : "Began"}>
          <span title={exactTime(startMs + start)}>+{durationText(start)}</span>
        </Fact>
        <Fact name="Stage">{span.stage || "–"}</Fact>
        <Fact name="Source">{span.source || "–"}</Fact>
        {tokens > 0 ? <Fact name="Tokens">{count(tokens)}</Fact> : null}
        {cost > 0 ? <Fact name="Cost">{money(cost)}</Fact> : null}
      </dl>
      <Places span={span} board={board} />
      {span.waits.length === 0 ? null : (
        <Part title="Waits" count={span.waits.length}>
          <ul class="shares wide">
            {span.waits.map((wait, index) => (
              <li key={index}>
                <Swatch kind={wait.kind} />
                <span>{waitWords(wait, until)}</span>
              </li>
            ))}
          </ul>
        </Part>
      )}
      <Attributes of={attributes} />
    </>
  );
}

function Places({ span, board }: { readonly span: Span; readonly board: Board }): JSX.Element {
  const { route } = useStores();
  const to = (id: string): void => {
    board.reveal(id);
    route.go({ span: id });
  };
  return (
    <p class="tools wrap small">
      {span.eventId === "" ? null : (
        <a href={route.href({ page: "events", tab: "", state: "", filter: "", open: span.eventId })} data-testid="span-event">
          Its event
        </a>
      )}
      {span.agentId === "" ? null : (
        <a href={route.href({ page: "agents", tab: "", state: "", filter: "", open: span.agentId })} data-testid="span-agent">
          Agent {span.agentId}
        </a>
      )}
      {span.links.map((link) =>
        link.traceId === "" ? (
          <button key={link.spanId} type="button" class="link" onClick={() => to(link.spanId)}>
            {link.kind === "SPAN_LINK_KIND_RETRY_OF"
              ? "The attempt before"
              : link.kind === "SPAN_LINK_KIND_FOLLOWS"
                ? "What it followed"
                : "Related"}
          </button>
        ) : (
          <a key={link.spanId} href={route.href({ open: link.traceId, span: link.spanId })}>
            Another trace
          </a>
        ),
      )}
      <Copy text={span.spanId} what="span's id" />
    </p>
  );
}

function Attributes({ of }: { readonly of: Readonly<Record<string, string>> }): JSX.Element | null {
  const all = Object.entries(of).sort(([a], [b]) => (a < b ? -1 : 1));
  return all.length === 0 ? null : (
    <Part title="Attributes" count={all.length} testId="attributes">
      <dl class="attributes small">
        {all.map(([name, value]) => (
          <div key={name}>
            <dt class="weak">{name}</dt>
            <dd class="mono">{value}</dd>
          </div>
        ))}
      </dl>
    </Part>
  );
}
