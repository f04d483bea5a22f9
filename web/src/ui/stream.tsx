// Events as they come. Stays at the newest until someone scrolls up; then it holds still and counts what is new below.
import { type Signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { count, duration, exactTime, rate, timeOfDay } from "../core/format";
import { durationMs } from "../core/time";
import { eventName } from "../core/narrative";
import { EVENTS } from "../live/positions";
import type { EventFilter, EventRow, GapRow, StreamRow } from "../stores/events";
import { useStores } from "./context";
import { useFollowing } from "./follow";
import { Mark } from "./mark";
import { memo } from "./memo";
import { Note, Panel } from "./panel";

export const ROW_HEIGHT = 24;

const FILTERS: readonly { readonly filter: EventFilter; readonly words: string }[] = [
  { filter: "work", words: "without heartbeats" },
  { filter: "trouble", words: "only trouble" },
  { filter: "all", words: "all" },
];

export function EventStreamPanel(): JSX.Element {
  const { events, metrics } = useStores();
  const following = useSignal(true);
  const filter = events.filter.value;
  const perSecond = metrics.snapshot.value?.eventsPerSecond;
  const aside = events.arrived.value ? (
    <>
      <label>
        <span class="sr">Which events</span>
        <select
          class="bare"
          value={filter}
          onChange={(event) => (events.filter.value = FILTERS.find((each) => each.filter === event.currentTarget.value)?.filter ?? "work")}
          data-testid="events-filter"
        >
          {FILTERS.map((each) => (
            <option key={each.filter} value={each.filter}>
              {each.words}
            </option>
          ))}
        </select>
      </label>
      <span title={following.value ? "Stays at the newest" : "Holds still while you read; scroll to the end to follow again"}>
        {following.value ? "following" : "held"}
        {perSecond === undefined ? "" : ` · ${rate(Number(perSecond))}/s`}
      </span>
    </>
  ) : null;
  return (
    <Panel title="Events" channel={EVENTS} class="events" testId="events" aside={aside}>
      <Stream key={filter} following={following} />
    </Panel>
  );
}

function Stream({ following }: { readonly following: Signal<boolean> }): JSX.Element {
  const { events } = useStores();
  const { base, rows } = events.view.value;
  const { box, window, unseen, scrolled, toEnd } = useFollowing(following, base, rows.length, ROW_HEIGHT);
  return (
    <div class="stream">
      <div
        class="body"
        ref={box}
        onScroll={scrolled}
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-label="Events, newest last"
        data-testid="event-list"
        data-rows={rows.length}
      >
        {rows.length === 0 ? <Note>{events.arrived.value ? emptyWords(events.filter.value) : "Waiting for events…"}</Note> : null}
        <ul style={{ height: `${rows.length * ROW_HEIGHT}px` }}>
          {rows.slice(window.first, window.end).map((row, index) => (
            <Row key={row.key} row={row} top={(window.first + index) * ROW_HEIGHT} />
          ))}
        </ul>
      </div>
      {!following.value && unseen > 0 ? (
        <button type="button" class="button primary unseen" onClick={toEnd} data-testid="events-new">
          {count(unseen)} new
        </button>
      ) : null}
    </div>
  );
}

function emptyWords(filter: EventFilter): string {
  return filter === "trouble"
    ? "No trouble among the events that have come."
    : "No events yet. They appear here as engines and agents report them.";
}

function Row({ row, top }: { readonly row: StreamRow; readonly top: number }): JSX.Element {
  return row.kind === "gap" ? <Gap row={row} top={top} /> : <Line row={row} top={top} />;
}

function Gap({ row, top }: { readonly row: GapRow; readonly top: number }): JSX.Element {
  return (
    <li class="event gap tone-warning" style={{ top: `${top}px` }} data-testid="event-gap">
      <span class="cut" title={row.words}>
        {row.words}
      </span>
    </li>
  );
}

const Line = memo(({ row, top }: { readonly row: EventRow; readonly top: number }): JSX.Element => {
  const { route } = useStores();
  const { event, narrative } = row;
  const took = durationMs(event.duration);
  const length = took === undefined ? undefined : duration(took);
  const open = event.workflowId === "" ? undefined : (): void => route.go({ open: event.workflowId });
  return (
    <li
      class={open === undefined ? "event" : "event opens"}
      style={{ top: `${top}px` }}
      onClick={open}
      data-testid="event-row"
      data-type={eventName(event.type)}
      data-workflow-id={event.workflowId}
    >
      <time class="faint mono" title={exactTime(row.at)}>
        {timeOfDay(row.at, "millis")}
      </time>
      <Mark look={narrative} />
      <span class="cut" title={[narrative.title, narrative.rest, narrative.id].filter((each) => each !== "").join(" · ")}>
        <span class={narrative.big ? "big" : undefined}>{narrative.title}</span>
        {narrative.rest === "" ? "" : <span class="weak"> · {narrative.rest}</span>} <span class="id faint mono">{narrative.id}</span>
      </span>
      <span class="weak number">{length === undefined ? "" : `${length.value} ${length.unit}`}</span>
    </li>
  );
});
