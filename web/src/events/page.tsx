// The Events page: one list of a hundred thousand rows that stays at the newest until somebody scrolls up, chips that say how many there are of each kind,
// and what one event says beside it. Filter, chips, range and the open event are in the URL.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { count, durationText, exactTime, plural, sentence, timeOfDay } from "../core/format";
import { eventName } from "../core/narrative";
import { durationMs } from "../core/time";
import { nameOf, severityLook } from "../core/words";
import { useStores } from "../ui/context";
import { useFollowing } from "../ui/follow";
import { List } from "../ui/lists";
import { Mark } from "../ui/mark";
import { memo } from "../ui/memo";
import { Note, Panel } from "../ui/panel";
import type { CountEventsResponse } from "../core/wire";
import { Export } from "./export";
import { Feed } from "./feed";
import { QUIET, SEVERITIES, marked, question, wordsOf } from "./question";
import type { Row, Told } from "./rows";
import { EventSheet } from "./sheet";
import "./events.css";

const ROW_HEIGHT = 24;
const TYPING_MS = 300;
const COUNT_MS = 5_000;

export function Events(): JSX.Element {
  const { call, base, clock, route } = useStores();
  const feed = useMemo(() => new Feed(call, base), []);
  const asked = useSignal("");
  const { filter, state, range } = route.route.value;
  const fixed = range.kind === "fixed";
  const view = [filter, state, fixed ? `${range.from}-${range.to}` : range.ms].join("\n");
  useEffect(() => {
    const ask = (): void => {
      asked.value = question(filter, chipsOf(state), range, clock.serverNow());
      feed.ask(asked.value, !fixed);
    };
    const timer = setTimeout(ask, asked.peek() === "" ? 0 : TYPING_MS);
    return () => clearTimeout(timer);
  }, [view]);
  useEffect(() => () => feed.stop(), []);
  const open = route.open.value;
  return (
    <div class="alerts-page events-page" data-testid="page-events">
      <h1 class="sr">Events</h1>
      <Panel title="Events" class="tall" testId="events" aside={<Aside feed={feed} filter={asked.value} />}>
        <Counts filter={asked.value} />
        <Stand feed={feed} />
        <Lines feed={feed} words={wordsOf(filter)} key={asked.value} />
      </Panel>
      {open === "" ? null : <EventSheet key={open} id={open} feed={feed} />}
    </div>
  );
}

const chipsOf = (state: string): string[] => state.split(",").filter((name) => name !== "");

function Aside({ feed, filter }: { readonly feed: Feed; readonly filter: string }): JSX.Element {
  void feed.version.value;
  const { live } = feed.standing.value;
  return (
    <>
      <span class="weak" title="Rows that are here; older ones come when you scroll up">
        {plural(feed.rows.length, "row")}
        {live ? "" : " · of a past range"}
      </span>
      <Export filter={filter} />
    </>
  );
}

// How many there are of each kind: of each choice, what choosing it would give.
function Counts({ filter }: { readonly filter: string }): JSX.Element | null {
  const { call, route } = useStores();
  const list = useMemo(
    () =>
      new List<CountEventsResponse>(
        async (_token, signal) => ({ items: [(await call("EventService/CountEvents", { filter }, signal)).message] }),
        COUNT_MS,
      ),
    [filter],
  );
  useEffect(() => (filter === "" ? undefined : list.show()), [list]);
  const found = list.view.value.items[0];
  const chosen = chipsOf(route.state.value);
  const toggle = (name: string): void => {
    const next = chosen.includes(name) ? chosen.filter((each) => each !== name) : [...chosen, name];
    route.go({ state: next.join(",") });
  };
  const plus = found?.exact === false ? "+" : "";
  const chip = (name: string, words: JSX.Element | string, amount?: string): JSX.Element => (
    <button
      key={name}
      type="button"
      class="chip"
      aria-pressed={chosen.includes(name)}
      onClick={() => toggle(name)}
      data-testid={`chip-${name}`}
    >
      {words} {amount === undefined ? null : <b>{found === undefined ? "" : `${count(Number(amount))}${plus}`}</b>}
    </button>
  );
  const types = found?.types.map(({ type, count: amount }) => [eventName(type).toLowerCase(), amount] as const) ?? [];
  const unseen = chosen
    .filter((name) => name !== QUIET && !SEVERITIES.includes(name) && types.every(([each]) => each !== name))
    .map((name) => [name, "0"] as const);
  return (
    <>
      <div class="chips" role="group" aria-label="Severities">
        <button
          type="button"
          class="chip"
          aria-pressed={chosen.length === 0}
          onClick={() => route.go({ state: "" })}
          data-testid="chip-all"
        >
          All <b>{found === undefined ? "" : `${count(Number(found.total))}${plus}`}</b>
        </button>
        {SEVERITIES.map((name) => {
          const severity = `SEVERITY_${name.toUpperCase()}` as never;
          const amount = found?.severities.find((each) => each.severity === severity)?.count;
          const look = severityLook(severity);
          const words = (
            <>
              <Mark look={look} /> {look.word}
            </>
          );
          return chip(name, words, amount ?? "0");
        })}
        {chip(QUIET, "Without heartbeats")}
      </div>
      <div
        class="chips"
        role="group"
        aria-label="Types"
        title={plus === "" ? undefined : "Counting stopped where it would have taken too long"}
      >
        {[...types, ...unseen].map(([name, amount]) => chip(name, sentence(name.toUpperCase()), amount))}
      </div>
    </>
  );
}

function Stand({ feed }: { readonly feed: Feed }): JSX.Element | null {
  void feed.version.value;
  const { phase, problem, code, live, looked, older } = feed.standing.value;
  const none = feed.rows.length === 0;
  if (phase === "error") {
    return code === "INVALID_ARGUMENT" ? (
      <Note tone="warning">
        The filter is not understood: {problem}. Example: <code>timeout AND severity &gt;= ERROR</code>
      </Note>
    ) : (
      <Note tone="critical" bar={!none}>
        Events do not arrive: {problem}. It is tried again{none ? "" : "; what is shown is from before"}.
      </Note>
    );
  }
  if (!none) {
    return null;
  }
  if (phase === "loading") {
    return <Note>Reading the events…</Note>;
  }
  return older ? (
    <Note>
      Nothing matches {looked === undefined ? "so far" : `back to ${exactTime(looked)}`}.{" "}
      <button type="button" class="link" onClick={() => void feed.older()} data-testid="events-on">
        Look further back
      </button>
    </Note>
  ) : (
    <Note>
      No event matches in this time.{" "}
      {live ? "What comes appears here; a longer range is in the strip above." : "Choose another range or fewer conditions."}
    </Note>
  );
}

function Lines({ feed, words }: { readonly feed: Feed; readonly words: readonly string[] }): JSX.Element {
  const { route } = useStores();
  void feed.version.value;
  const following = useSignal(true);
  const { rows } = feed;
  const { box, window, unseen, scrolled, toEnd } = useFollowing(following, rows.base, rows.length, ROW_HEIGHT);
  const first = rows.base + window.first;
  const end = Math.min(rows.base + window.end, rows.end);
  const beyond = feed.beyond.value;
  useEffect(() => void feed.need(first, end), [first, end, rows.length]);
  const moved = (): void => {
    scrolled();
    if (box.current !== null && box.current.scrollTop < 40 * ROW_HEIGHT && feed.standing.peek().older) {
      void feed.older();
    }
  };
  const newest = (): void =>
    beyond > 0 ? feed.ask(question(route.filter.peek(), chipsOf(route.state.peek()), route.range.peek(), Date.now()), true) : toEnd();
  const open = route.open.value;
  const word = words.join(" ");
  return (
    <div class="stream">
      <div
        class="body"
        ref={box}
        onScroll={moved}
        onFocusIn={(event) => (following.value = event.target === event.currentTarget && following.value)}
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-label="Events, newest last"
        data-testid="event-list"
        data-rows={rows.length}
        data-following={following.value}
      >
        <ul style={{ height: `${rows.length * ROW_HEIGHT}px` }}>
          {Array.from({ length: Math.max(0, end - first) }, (_, offset) => {
            const row = rows.row(first + offset);
            const top = (window.first + offset) * ROW_HEIGHT;
            return row.missing > 0 ? (
              <Gap key={row.id} feed={feed} row={row} top={top} />
            ) : (
              <Line key={row.id} id={row.id} at={row.at} type={row.type} told={row.told} top={top} words={word} open={row.id === open} />
            );
          })}
        </ul>
      </div>
      {beyond > 0 || (!following.value && unseen > 0) ? (
        <button type="button" class="button primary unseen" onClick={newest} data-testid="events-new">
          {count(beyond > 0 ? beyond : unseen)} new
        </button>
      ) : null}
    </div>
  );
}

function Gap({ feed, row, top }: { readonly feed: Feed; readonly row: Row; readonly top: number }): JSX.Element {
  const busy = useSignal(false);
  const fetch = (): void => {
    busy.value = true;
    void feed.fill(row.number).finally(() => (busy.value = false));
  };
  return (
    <li class="event gap tone-warning" style={{ top: `${top}px` }} data-testid="event-gap">
      More came than can be shown: {plural(row.missing, "event")} left out.{" "}
      <button type="button" class="link" onClick={fetch} disabled={busy.value} data-testid="gap-fetch">
        {busy.value ? "Reading…" : "Read them"}
      </button>
    </li>
  );
}

interface LineProps {
  readonly id: string;
  readonly at: number;
  readonly type: string;
  readonly told: Told | undefined;
  readonly top: number;
  // Those that were searched.
  readonly words: string;
  readonly open: boolean;
}

const Line = memo(({ id, at, type, told, top, words, open }: LineProps): JSX.Element => {
  const { route } = useStores();
  const took = durationMs(told?.event.duration);
  const said = told?.narrative;
  return (
    <li
      class="event opens"
      style={{ top: `${top}px` }}
      onClick={() => route.go({ open: id })}
      data-row=""
      data-opens={id}
      data-open={open}
      tabIndex={-1}
      data-testid="event-row"
      data-type={nameOf(type, "EVENT_TYPE")}
    >
      <time class="faint mono" title={exactTime(at)}>
        {timeOfDay(at, "millis")}
      </time>
      {said === undefined ? <span /> : <Mark look={said} />}
      {said === undefined ? (
        <span class="weak">{sentence(nameOf(type, "EVENT_TYPE"))}</span>
      ) : (
        <span class="cut" title={[said.title, said.rest, said.id].filter((each) => each !== "").join(" · ")}>
          <span class={said.big ? "big" : undefined}>
            <Marked text={said.title} words={words} />
          </span>
          {said.rest === "" ? null : (
            <span class="weak">
              {" · "}
              <Marked text={said.rest} words={words} />
            </span>
          )}{" "}
          <span class="id faint mono">{said.id}</span>
        </span>
      )}
      <span class="weak number">{took === undefined ? "" : durationText(took)}</span>
    </li>
  );
});

export function Marked({ text, words }: { readonly text: string; readonly words: string }): JSX.Element {
  const pieces = words === "" ? [text] : marked(text, words.split(" "));
  return <bdi>{pieces.map((piece, index) => (index % 2 === 1 ? <mark key={index}>{piece}</mark> : piece))}</bdi>;
}
