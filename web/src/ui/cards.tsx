// Six figures. Each says its value, how it compares with the five minutes before, its shape over the range, and how old it is.
import type { JSX } from "preact";
import { count, duration, percent, rate, shortCount, signed } from "../core/format";
import type { Columns, Line } from "../core/history";
import { durationMs } from "../core/time";
import { type Direction, judge } from "../core/trend";
import { METRICS } from "../live/positions";
import { useStores } from "./context";
import { Age } from "./panel";
import { Spark } from "./spark";
import type { MetricPoint, MetricsSnapshot, WindowMetrics } from "../core/wire";

interface Trend {
  readonly words: string;
  readonly direction: Direction;
}

interface CardProps {
  readonly name: string;
  readonly title: string;
  readonly explains: string;
  readonly value: string | undefined;
  readonly unit: string;
  readonly trend: Trend | undefined;
  readonly line: Line | undefined;
}

export function Cards(): JSX.Element {
  const { metrics, history } = useStores();
  const facts: Facts = {
    snapshot: metrics.snapshot.value,
    window: metrics.window.value,
    before: metrics.before.value,
    columns: history.view.value.columns,
  };
  return (
    <div class="cards">
      {CARDS.map((card) => (
        <MetricsCard key={card.name} {...card} {...card.read(facts)} />
      ))}
    </div>
  );
}

function MetricsCard({ name, title, explains, value, unit, trend, line }: CardProps): JSX.Element {
  const { connection, metrics } = useStores();
  const stale = connection.isStale(METRICS);
  const waiting = metrics.snapshot.value === undefined;
  return (
    <section
      class={`panel card ${stale ? "stale" : ""}`}
      title={explains}
      role="group"
      aria-label={title}
      data-testid={`card-${name}`}
      data-stale={stale}
    >
      <header>
        <h2>{title}</h2>
        <span class="aside">
          <Age channel={METRICS} testId={`card-${name}-age`} />
        </span>
      </header>
      <div class="figure dims">
        <span class={value === undefined ? "value none" : "value"} data-testid={`card-${name}-value`}>
          {value ?? (waiting ? "…" : "no data")}
        </span>
        {value === undefined ? null : <span class="unit">{unit}</span>}
        <Spark values={line} />
      </div>
      <div class="below dims">
        <span class={`trend ${trend?.direction ?? "none"}`} data-testid={`card-${name}-trend`}>
          {trend?.words ??
            (waiting ? "waiting for the server" : metrics.before.value === undefined ? "comparing…" : "nothing before to compare")}
        </span>
      </div>
    </section>
  );
}

interface Facts {
  readonly snapshot: MetricsSnapshot | undefined;
  readonly window: WindowMetrics | undefined;
  readonly before: MetricPoint | null | undefined;
  readonly columns: Columns | undefined;
}

type Reading = Pick<CardProps, "value" | "unit" | "trend" | "line">;

interface CardSpec {
  readonly name: string;
  readonly title: string;
  readonly explains: string;
  readonly read: (facts: Facts) => Reading;
}

const BEFORE = "vs 5 min before";

const CARDS: readonly CardSpec[] = [
  { name: "running", title: "Running", explains: "Workflows that run now", read: readRunning },
  {
    name: "queued",
    title: "Queued",
    explains: "What waits now: workflows queued, and tasks queued or assigned but not started",
    read: readQueued,
  },
  { name: "throughput", title: "Throughput", explains: "Workflows completed in the last 5 minutes, per minute", read: readThroughput },
  { name: "success", title: "Success", explains: "Completed of completed and failed workflows in the last 5 minutes", read: readSuccess },
  {
    name: "p95",
    title: "Latency p95",
    explains: "95 % of the workflows that ended in the last 5 minutes took no longer",
    read: readLatency,
  },
  { name: "agents", title: "Agents", explains: "Agents whose heartbeat is within the limit, of those known", read: readAgents },
];

const fleetOf = (facts: Facts) => facts.snapshot?.series[0];

const known = (value: number | string | undefined): number | undefined => (value === undefined ? undefined : Number(value));

function readRunning(facts: Facts): Reading {
  return readGauge(fleetOf(facts)?.states?.running, facts.before?.states?.running, facts.columns?.running, "none");
}

function readQueued(facts: Facts): Reading {
  return readGauge(fleetOf(facts)?.states?.queueDepth, facts.before?.states?.queueDepth, facts.columns?.queued, "down");
}

function readGauge(now: string | undefined, before: string | undefined, line: Line | undefined, better: "down" | "none"): Reading {
  const change = now === undefined || before === undefined ? undefined : Number(now) - Number(before);
  const trend = change === undefined ? undefined : { words: `${signed(change, count)} ${BEFORE}`, direction: judge(change, better, 0) };
  return { value: now === undefined ? undefined : shortCount(Number(now)), unit: "", trend, line };
}

function readThroughput(facts: Facts): Reading {
  const now = known(facts.window?.throughput);
  const before = known(facts.before?.throughput);
  let trend: Trend | undefined;
  if (now !== undefined && before !== undefined) {
    const share = before === 0 ? undefined : (now - before) / before;
    const words = share === undefined ? `${signed(now * 60, rate)}/min` : `${signed(share * 100, rate)} %`;
    trend = { words: `${words} ${BEFORE}`, direction: judge(share ?? now, "up", 0.02) };
  }
  return { value: now === undefined ? undefined : rate(now * 60), unit: "/min", trend, line: facts.columns?.throughput };
}

function readSuccess(facts: Facts): Reading {
  const now = known(facts.window?.successRate);
  const errors = known(facts.before?.errorRate);
  let trend: Trend | undefined;
  if (now !== undefined && errors !== undefined) {
    const change = (now - (1 - errors)) * 100;
    trend = { words: `${signed(change, rate)} pt ${BEFORE}`, direction: judge(change, "up", 0.05) };
  }
  return { value: now === undefined ? undefined : percent(now), unit: "%", trend, line: facts.columns?.successRate };
}

function readLatency(facts: Facts): Reading {
  const now = durationMs(facts.window?.latency?.p95);
  const before = durationMs(facts.before?.latency?.p95);
  const shown = now === undefined ? undefined : duration(now);
  let trend: Trend | undefined;
  if (now !== undefined && before !== undefined && before > 0) {
    const share = (now - before) / before;
    trend = { words: `${signed(share * 100, rate)} % ${BEFORE}`, direction: judge(share, "down", 0.02) };
  }
  return { value: shown?.value, unit: shown?.unit ?? "", trend, line: facts.columns?.p95 };
}

function readAgents(facts: Facts): Reading {
  const agents = facts.snapshot?.agents;
  if (agents === undefined || agents.known === "0") {
    return {
      value: undefined,
      unit: "",
      trend: facts.snapshot === undefined ? undefined : { words: "none has reported", direction: "neutral" },
      line: undefined,
    };
  }
  const away = Number(agents.known) - Number(agents.online);
  const trend: Trend =
    away > 0
      ? { words: `${count(away)} offline`, direction: "worse" }
      : { words: `all online, ${count(Number(agents.busy))} busy`, direction: "neutral" };
  return { value: shortCount(Number(agents.online)), unit: `of ${count(Number(agents.known))}`, trend, line: facts.columns?.agents };
}
