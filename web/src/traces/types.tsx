// What the runs of one type have in common: how long each stage holds them up, and whether that was so a week before.
import type { JSX } from "preact";
import { count, durationText, percent, plural, signed, when } from "../core/format";
import { jsonMs, timestampMs, toTimestamp } from "../core/time";
import { useStores } from "../ui/context";
import { Choice } from "../ui/form";
import { type Column, Fact, Standing, Table, useList } from "../ui/listed";
import { Note, Panel } from "../ui/panel";
import { Part } from "../ui/side";
import { Split } from "./analysis";
import type { StageCriticality, TraceAggregate } from "./wire";
import { difference } from "./words";

const EVERY_MS = 30_000;
const NEWEST = 200;

interface Compared {
  readonly now: StageCriticality;
  readonly before: StageCriticality | undefined;
  // Whether there were runs in the week before.
  readonly since: boolean;
}

export function Types(): JSX.Element {
  const { route, call, workflows } = useStores();
  const newest = useList(
    async (_token, signal) => ({ items: (await call("TraceService/ListTraces", { pageSize: NEWEST }, signal)).message.traces }),
    EVERY_MS,
  );
  const known = [...newest.view.value.items, ...workflows.all.value].map(({ workflowType }) => workflowType);
  const types = [...new Set([route.open.value, ...known])].filter((each) => each !== "").sort();
  const type = route.open.value || types[0];
  return (
    <Panel
      title={type === undefined ? "Types" : `Runs of type ${type}`}
      class="tall"
      testId="types"
      aside={
        type === undefined ? null : (
          <Choice
            value={type}
            set={(open) => route.go({ open })}
            of={types.map((each) => [each, each] as const)}
            label="Type of workflow"
            testId="type"
          />
        )
      }
    >
      {type === undefined ? (
        <Standing list={newest} what="the types" empty="No workflow yet, so there is no type." />
      ) : (
        <OfType key={type} type={type} />
      )}
    </Panel>
  );
}

function OfType({ type }: { readonly type: string }): JSX.Element {
  const { call, route } = useStores();
  const range = route.range.value;
  // What is chosen as "the last …" is about now; of runs a week is worth looking at.
  const times = range.kind === "fixed" ? { startTime: toTimestamp(range.from), endTime: toTimestamp(range.to) } : {};
  const list = useList(
    async (_token, signal) => ({ items: [(await call("TraceService/AggregateTraces", { workflowType: type, ...times }, signal)).message] }),
    EVERY_MS,
    JSON.stringify([type, times]),
  );
  const found = list.view.value.items[0];
  if (found?.current === undefined) {
    return <Standing list={list} what={`the runs of type ${type}`} empty="" />;
  }
  const { current, previous } = found;
  const items = current.stages.map((now) => ({
    now,
    before: previous?.stages.find(({ stage }) => stage === now.stage),
    since: (previous?.runCount ?? 0) > 0,
  }));
  return (
    <div class="body" data-testid="aggregate" data-runs={current.runCount}>
      <Whole current={current} previous={previous} />
      {current.runCount === 0 ? (
        <Note>No run of type {type} ended in this time.</Note>
      ) : (
        <Table items={items} columns={COLUMNS} testId="stage-row" id={({ now }) => now.stage || ":none"} />
      )}
    </div>
  );
}

function Whole({ current, previous }: { readonly current: TraceAggregate; readonly previous: TraceAggregate | undefined }): JSX.Element {
  const now = useStores().clock.serverNow();
  const [from, to] = [current.startTime, current.endTime].map((time) => when(timestampMs(time) ?? now, now));
  const before = previous?.runCount ?? 0;
  const than = (key: "p50" | "p95"): string =>
    before === 0 || previous?.duration === undefined ? "" : difference(jsonMs(current.duration?.[key]) - jsonMs(previous.duration[key]));
  return (
    <div class="whole">
      <dl class="facts">
        <Fact name={`Ended ${from} – ${to}`}>
          {plural(current.runCount, "run")}
          {current.truncated ? " (the newest)" : ""} <span class="weak">{count(before)} a week before</span>
        </Fact>
        <Fact name="Failed">{count(current.failedCount)}</Fact>
        <Fact name="Half took at most">
          {durationText(jsonMs(current.duration?.p50))} <span class="weak small">{than("p50")}</span>
        </Fact>
        <Fact name="95 % took at most">
          {durationText(jsonMs(current.duration?.p95))} <span class="weak small">{than("p95")}</span>
        </Fact>
      </dl>
      {current.timeSplit.length === 0 ? null : (
        <Part title="What the time of all critical paths went to">
          <Split shares={current.timeSplit} />
        </Part>
      )}
    </div>
  );
}

const share = (value: StageCriticality["shareP50"]): string => `${percent(Number(value))} %`;

const COLUMNS: readonly Column<Compared>[] = [
  ["Stage", "w-name", ({ now }) => now.stage || <span class="faint">no stage</span>],
  [
    "Share of the critical path",
    "w-why",
    ({ now }) => (
      <span class="track tone-notice wide-track" title={`half of the runs: ${share(now.shareP50)}; 95 %: ${share(now.shareP95)}`}>
        <i class="p95" style={{ left: 0, width: `${Number(now.shareP95) * 100}%` }} />
        <i style={{ left: 0, width: `${Number(now.shareP50) * 100}%` }} />
      </span>
    ),
  ],
  ["p50", "w-time number", ({ now }) => share(now.shareP50)],
  ["p95", "w-rate number", ({ now }) => share(now.shareP95)],
  [
    "Week before",
    "w-time number",
    ({ now, before, since }) =>
      before === undefined ? (
        <span class="faint">{since ? "new" : "–"}</span>
      ) : (
        `${signed((Number(now.shareP50) - Number(before.shareP50)) * 100, (by) => by.toFixed(1))} pp`
      ),
  ],
  ["p50 of it", "w-time number", ({ now }) => durationText(jsonMs(now.critical?.p50))],
  ["p95 of it", "w-time number", ({ now }) => durationText(jsonMs(now.critical?.p95))],
  ["Runs", "w-rate number", ({ now }) => count(now.runCount)],
];
