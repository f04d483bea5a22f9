// All traces of the range and the filter: as points, and as rows from which some are chosen to be compared.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { count, durationText, exactTime, when } from "../core/format";
import type { TimeRange } from "../core/route";
import { durationMs, timestampMs, toTimestamp } from "../core/time";
import { nameOf, workflowLook } from "../core/words";
import { useStores } from "../ui/context";
import { Choice } from "../ui/form";
import { type Column, Listed, useList } from "../ui/listed";
import { Mark } from "../ui/mark";
import { NoMatch } from "../ui/rows";
import { Selection } from "../workflows/selection";
import { Split } from "./analysis";
import { Scatter } from "./scatter";
import type { Trace } from "./wire";
import { joined } from "./words";

const EVERY_MS = 5_000;
const PAGE = 200;
const MOST_COMPARED = 5;
const ORDERS = [
  ["start_time desc", "Newest first"],
  ["start_time", "Oldest first"],
  ["duration desc", "Longest first"],
  ["duration", "Shortest first"],
] as const;
type Order = (typeof ORDERS)[number][0];

// What of the filter the server is asked for: with the range.
export function listFilter(filter: string, range: TimeRange, now: number): string {
  const [from, to] = range.kind === "fixed" ? [range.from, range.to] : [now - range.ms, undefined];
  const times = `start_time >= "${toTimestamp(from)}"${to === undefined ? "" : ` AND start_time < "${toTimestamp(to)}"`}`;
  return filter.trim() === "" ? times : `(${filter.trim()}) AND ${times}`;
}

export function TraceList(): JSX.Element {
  const { route, call, clock } = useStores();
  const chosen = useMemo(() => new Selection(), []);
  const order = ORDERS.find(([each]) => each === route.order.value)?.[0] ?? "start_time desc";
  const filter = route.filter.value;
  const range = route.range.value;
  const asked = `${filter}\n${JSON.stringify(range)}\n${order}`;
  const list = useList<Trace>(
    async (pageToken, signal) => {
      const input = { filter: listFilter(filter, range, clock.serverNow()), pageSize: PAGE, pageToken, orderBy: order };
      const { traces, nextPageToken } = (await call("TraceService/ListTraces", input, signal)).message;
      return { items: traces, next: nextPageToken };
    },
    EVERY_MS,
    asked,
  );
  const { items } = list.view.value;
  const now = clock.serverNow();
  const span = range.kind === "fixed" ? range : { from: now - range.ms, to: now };
  const ids = chosen.ids.value;
  const open = (id: string): string => route.href({ open: id });
  const columns = useMemo(() => columnsOf(chosen, open, () => list.view.peek().items.map(({ id }) => id)), [list]);
  return (
    <Listed
      title="Traces"
      what="the traces"
      list={list}
      columns={columns}
      testId="trace-row"
      id={({ id }) => id}
      opens={({ id }) => id}
      state={({ state }) => nameOf(state, "WORKFLOW_STATE")}
      empty={filter.trim() === "" ? "Nothing began in this range of time. Choose a longer one above." : <NoMatch what="trace" />}
      aside={
        <span class="tools">
          {ids.size === 0 ? null : (
            <a
              class="button primary"
              href={route.href({ tab: "compare", open: joined([...ids].slice(0, MOST_COMPARED)) })}
              data-batch=""
              data-testid="compare"
            >
              {ids.size === 1 ? "Compare with one more…" : `Compare ${count(Math.min(ids.size, MOST_COMPARED))}`}
            </a>
          )}
          <Choice<Order>
            value={order}
            set={(value) => route.go({ order: value === "start_time desc" ? "" : value })}
            of={ORDERS}
            label="Order"
            testId="trace-order"
          />
        </span>
      }
    >
      {items.length === 0 ? null : (
        <Scatter
          traces={items}
          span={span}
          now={now}
          choose={({ from, to }) => route.go({ range: { kind: "fixed", from, to: Math.max(to, from + 1_000) } })}
          open={(id) => route.go({ open: id })}
        />
      )}
    </Listed>
  );
}

function columnsOf(chosen: Selection, open: (id: string) => string, order: () => string[]): readonly Column<Trace>[] {
  return [
    ["Choose", "col-pick", (trace) => <Pick chosen={chosen} trace={trace} order={order} />],
    [
      "State",
      "w-state",
      ({ state }) => (
        <span class="state">
          <Mark look={workflowLook(state)} /> {workflowLook(state).word}
        </span>
      ),
    ],
    [
      "Name",
      "w-name",
      (trace) => (
        <>
          <a class="name cut" href={open(trace.id)} onClick={(event) => event.stopPropagation()}>
            {trace.name || trace.id}
          </a>
          <span class="small faint mono cut">{trace.id}</span>
        </>
      ),
    ],
    ["Type", "w-type", ({ workflowType, source }) => <span class="cut">{workflowType || source || "–"}</span>],
    [
      "Where the time went",
      "w-why",
      ({ timeSplit }) => (timeSplit.length === 0 ? <span class="faint">–</span> : <Split shares={timeSplit} />),
    ],
    ["Took", "w-time number", (trace) => <Took trace={trace} />],
    ["Began", "w-time number", (trace) => <Began trace={trace} />],
  ];
}

function Pick({
  chosen,
  trace,
  order,
}: {
  readonly chosen: Selection;
  readonly trace: Trace;
  readonly order: () => string[];
}): JSX.Element {
  const click = (event: MouseEvent): void => {
    event.stopPropagation();
    chosen.toggle(trace.id, event.shiftKey, order());
  };
  return (
    <input
      type="checkbox"
      class="pick"
      tabIndex={-1}
      checked={chosen.ids.value.has(trace.id)}
      onClick={click}
      aria-label={`Choose ${trace.name || trace.id}`}
      data-pick=""
      data-testid="pick"
    />
  );
}

function Began({ trace }: { readonly trace: Trace }): JSX.Element {
  const at = timestampMs(trace.startTime) ?? 0;
  return <span title={exactTime(at)}>{when(at, useStores().clock.serverNow())}</span>;
}

function Took({ trace }: { readonly trace: Trace }): JSX.Element {
  const { clock } = useStores();
  const took = durationMs(trace.duration);
  return took === undefined ? (
    <span class="weak">{durationText(Math.max(0, clock.now.value - (timestampMs(trace.startTime) ?? 0)))}</span>
  ) : (
    <>{durationText(took)}</>
  );
}
