// Traces side by side on one axis of time, by what they have in common: what differs most stands first, and says how.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { durationText, exactTime, plural } from "../core/format";
import { durationMs, jsonMs, timestampMs } from "../core/time";
import { workflowLook } from "../core/words";
import { useStores } from "../ui/context";
import { Standing, useList } from "../ui/listed";
import { Mark } from "../ui/mark";
import { Note, Panel } from "../ui/panel";
import type { ComparedRow, Comparison } from "./wire";
import { MEDIAN, comparedName, difference, joined, parted } from "./words";

const EVERY_MS = 15_000;
const FIRST = 60;

export function Compare(): JSX.Element {
  const { route, call } = useStores();
  const open = route.open.value;
  const all = parted(open);
  const typeMedian = all.includes(MEDIAN);
  const ids = all.filter((id) => id !== MEDIAN);
  const list = useList<Comparison>(
    async (_token, signal) => ({ items: [(await call("TraceService/CompareTraces", { ids, typeMedian }, signal)).message] }),
    EVERY_MS,
    open,
  );
  const found = list.view.value.items[0];
  return (
    <Panel
      title="Side by side"
      class="tall"
      testId="comparison"
      aside={
        ids.length === 0 ? null : (
          <a href={route.href({ open: joined(typeMedian ? ids : [...ids, MEDIAN]) })} data-testid="compare-median">
            {typeMedian ? "Without the median" : "With the median of the type"}
          </a>
        )
      }
    >
      {ids.length === 0 || (ids.length === 1 && !typeMedian) ? (
        <Note>
          Choose two to five traces in <a href={route.href({ tab: "", open: "" })}>the list</a>, with x or the boxes, to see them side by
          side.
        </Note>
      ) : (
        <Standing list={list} what="the comparison" empty="" />
      )}
      {found === undefined ? null : <Found found={found} />}
    </Panel>
  );
}

function Found({ found }: { readonly found: Comparison }): JSX.Element {
  const more = useSignal(false);
  const rows = more.value ? found.rows : found.rows.slice(0, FIRST);
  const long = Math.max(1, ...found.traces.map(({ duration }) => jsonMs(duration)));
  return (
    <div class="body">
      <ol class="compared heads">
        {found.traces.map((trace, index) => (
          <ComparedHead key={index} trace={trace} first={index === 0} long={long} base={jsonMs(found.traces[0]?.duration)} />
        ))}
      </ol>
      <table class="table full listed">
        <thead>
          <tr>
            <th scope="col" class="w-name">
              What
            </th>
            <th scope="col" class="w-why">
              How it differs
            </th>
            <th scope="col">0 – {durationText(long)}</th>
            <th scope="col" class="w-time number">
              By
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <Row key={row.label} row={row} found={found} long={long} />
          ))}
        </tbody>
      </table>
      {rows.length < found.rows.length ? (
        <p class="more">
          <button type="button" class="button" onClick={() => (more.value = true)}>
            {plural(found.rows.length - rows.length, "more row")}
          </button>
        </p>
      ) : null}
      {found.rowCount > found.rows.length ? (
        <Note bar>{plural(found.rowCount - found.rows.length, "more difference")} are smaller than these.</Note>
      ) : null}
    </div>
  );
}

interface HeadProps {
  readonly trace: Comparison["traces"][number];
  readonly first: boolean;
  readonly long: number;
  readonly base: number;
}

function ComparedHead({ trace, first, long, base }: HeadProps): JSX.Element {
  const { route } = useStores();
  const start = timestampMs(trace.startTime);
  const took = jsonMs(trace.duration);
  return (
    <li data-testid="compared" title={start === undefined ? "" : exactTime(start)}>
      <span class="cut">
        {trace.id === "" ? null : <Mark look={workflowLook(trace.state)} />}{" "}
        {trace.id === "" ? <b>{comparedName(trace)}</b> : <a href={route.href({ tab: "trace", open: trace.id })}>{comparedName(trace)}</a>}{" "}
        <span class="faint small">{trace.workflowType}</span>
      </span>
      <Track from={0} took={took} long={long} first={first} />
      <span class="number">
        {durationText(took)} <span class="weak small">{first ? "" : difference(took - base)}</span>
      </span>
    </li>
  );
}

function Row({ row, found, long }: { readonly row: ComparedRow; readonly found: Comparison; readonly long: number }): JSX.Element {
  const { route } = useStores();
  const by = jsonMs(row.difference);
  return (
    <tr
      data-row=""
      tabIndex={-1}
      data-testid="difference"
      data-label={row.label}
      data-differences={row.spans.map((each) => each.difference).join(" ")}
    >
      <td class="w-name cut" title={row.label}>
        {labelOf(row)}
      </td>
      <td class="w-why cut weak" title={row.words}>
        {row.words}
      </td>
      <td class="tracks">
        {row.spans.map((span, index) => {
          const trace = found.traces[index];
          const track = (
            <Track
              from={jsonMs(span.startOffset)}
              took={span.present ? jsonMs(span.duration) : undefined}
              critical={durationMs(span.criticalDuration)}
              long={long}
              first={index === 0}
            />
          );
          const words = `${trace === undefined ? "" : comparedName(trace)}: ${span.present ? durationText(jsonMs(span.duration)) : "not there"}`;
          return span.spanId === "" || trace === undefined ? (
            <span key={index} title={words}>
              {track}
              <span class="sr">{words}</span>
            </span>
          ) : (
            <a key={index} href={route.href({ tab: "trace", open: trace.id, span: span.spanId })} title={words} aria-label={words}>
              {track}
            </a>
          );
        })}
      </td>
      <td class={`w-time number ${by > 0 ? "tone-warning" : ""}`}>{difference(by)}</td>
    </tr>
  );
}

// Names of tasks often begin with that of their stage.
const labelOf = ({ label, stage }: ComparedRow): string => label.replace(`${stage} / ${stage}/`, `${stage} / `);

interface TrackProps {
  readonly from: number;
  // Nothing where it is not there.
  readonly took: number | undefined;
  readonly critical?: number | undefined;
  readonly long: number;
  readonly first: boolean;
}

function Track({ from, took, critical = 0, long, first }: TrackProps): JSX.Element {
  const width = (ms: number): string => `max(2px, ${(ms / long) * 100}%)`;
  return (
    <span class={`track ${first ? "tone-unknown" : "tone-notice"}`}>
      {took === undefined ? null : <i style={{ left: `${(from / long) * 100}%`, width: width(took) }} />}
      {critical === 0 ? null : <i class="on-path" style={{ left: `${(from / long) * 100}%`, width: width(critical) }} />}
    </span>
  );
}
