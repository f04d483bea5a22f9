// Beside a rule's form: what the draft would have done over the stored history, on a chart and in a sentence.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { count, durationText, plural } from "../core/format";
import { jsonMs, timestampMs } from "../core/time";
import type { AlertRuleJson } from "../gen/pilothouse/v1/rules_pb";
import { asSentence } from "../ui/alerts";
import { useStores } from "../ui/context";
import { Note, When } from "../ui/panel";
import { type Backtest, BacktestStore, nameOf } from "./backtest";
import { RulePlot } from "./plot";
import { thresholdWords, thresholdsOf, valueWords } from "./words";
import { isGrave } from "../core/words";

const HOUR = 3_600_000;
const SINCE: readonly (readonly [number, string])[] = [
  [HOUR, "1 h"],
  [6 * HOUR, "6 h"],
  [24 * HOUR, "24 h"],
  [7 * 24 * HOUR, "7 d"],
];
const MOST_LISTED = 20;

export function Preview({ draft, wrong }: { readonly draft: AlertRuleJson; readonly wrong: boolean }): JSX.Element {
  const { base, clock } = useStores();
  const store = useMemo(() => new BacktestStore(base), []);
  const since = useSignal(24 * HOUR);
  // Only what decides: a new description changes nothing that would have happened.
  const { name: _name, description: _description, annotations: _annotations, channels: _channels, ...decides } = draft;
  const key = JSON.stringify(decides);
  useEffect(() => {
    if (!wrong) {
      store.run({ ...draft, name: draft.name || "draft" }, since.value, clock.serverNow());
    }
  }, [key, wrong, since.value]);
  useEffect(() => () => store.stop(), []);
  const view = store.view.value;
  return (
    <section
      class="preview"
      aria-label="What it would have done"
      data-testid="backtest"
      data-phase={view.phase}
      data-fired={view.summary?.fired}
    >
      <div class="chips" role="group" aria-label="Over which time">
        {SINCE.map(([ms, word]) => (
          <button key={ms} type="button" class="chip" aria-pressed={since.value === ms} onClick={() => (since.value = ms)}>
            Last {word}
          </button>
        ))}
      </div>
      <Headline view={view} wrong={wrong} />
      <Charts view={view} draft={draft} />
      <Fired view={view} draft={draft} />
      {view.summary === undefined ? null : (
        <p class="faint small">
          Judged by {view.sources.join("; ") || "the stored history"}, {plural(view.summary.instances, "instance")}.
        </p>
      )}
      {view.summary?.caveats.map((each) => (
        <Note key={each} tone="warning">
          {asSentence(each)}
        </Note>
      ))}
    </section>
  );
}

function Headline({ view, wrong }: { readonly view: Backtest; readonly wrong: boolean }): JSX.Element {
  if (wrong && view.phase !== "done") {
    return <Note>As soon as the rule is right, this shows what it would have done.</Note>;
  }
  if (view.phase === "refused") {
    return <Note tone="warning">What it would have done is not known: {view.problem}.</Note>;
  }
  const running = view.phase === "running";
  const { summary } = view;
  if (summary === undefined) {
    return (
      <Note>{running ? `Trying it on the stored history… ${Math.round(view.share * 100)} %` : "Trying it on the stored history…"}</Note>
    );
  }
  const times = summary.fired === 0 ? "not have fired" : `have fired ${summary.fired === 1 ? "once" : `${count(summary.fired)} times`}`;
  const firing = jsonMs(summary.firing_duration);
  return (
    <p class="headline" aria-live="polite" data-testid="backtest-headline">
      <b>Would {times}</b> in {SINCE.find(([ms]) => ms === view.to - view.from)?.[1] ?? durationText(view.to - view.from)}
      {summary.fired === 0 || firing === 0 ? "" : `, for ${durationText(firing)} in all`}
      {running ? <span class="faint"> · trying again…</span> : wrong ? <span class="faint"> · before the last change</span> : null}
    </p>
  );
}

function Charts({ view, draft }: { readonly view: Backtest; readonly draft: AlertRuleJson }): JSX.Element | null {
  const chosen = useSignal(0);
  const thresholds = thresholdsOf(draft.condition);
  const index = Math.min(chosen.value, thresholds.length - 1);
  const threshold = thresholds[index];
  const lines = view.lines.get(index) ?? [];
  // History may begin within the time that was asked for: the chart begins with it.
  const known = lines.flatMap((line) => line.time[line.values.findIndex((value) => value !== null)] ?? []);
  const first = known.length === 0 ? view.from : Math.min(...known) * 1000;
  const begin = Math.max(view.from, first - (view.to - first) * 0.02 - 5_000);
  const critical = isGrave(draft.severity ?? "SEVERITY_WARNING");
  const spans = useMemo(
    () =>
      view.alerts.map((each) => ({
        from: timestampMs(each.fire_time) ?? view.to,
        to: timestampMs(each.resolve_time) ?? view.to,
        critical,
      })),
    [view.alerts, critical],
  );
  const marks = useMemo(
    () => view.alerts.map((each, place) => ({ id: String(place), at: timestampMs(each.fire_time) ?? 0, words: each.summary, critical })),
    [view.alerts, critical],
  );
  if (threshold === undefined) {
    return null;
  }
  return (
    <>
      {thresholds.length < 2 ? null : (
        <div class="chips" role="group" aria-label="Which comparison">
          {thresholds.map((each, place) => (
            <button key={place} type="button" class="chip" aria-pressed={place === index} onClick={() => (chosen.value = place)}>
              {thresholdWords(each)}
            </button>
          ))}
        </div>
      )}
      {lines.length === 0 ? (
        view.phase === "done" ? (
          <Note>Nothing is stored that it could have been compared with.</Note>
        ) : null
      ) : (
        <RulePlot key={index} threshold={threshold} lines={lines} span={{ from: begin, to: view.to }} marks={marks} spans={spans} />
      )}
    </>
  );
}

function Fired({ view, draft }: { readonly view: Backtest; readonly draft: AlertRuleJson }): JSX.Element | null {
  const metric = thresholdsOf(draft.condition)[0]?.metric;
  return view.alerts.length === 0 ? null : (
    <ol class="steps fired">
      {view.alerts.slice(0, MOST_LISTED).map((each, index) => {
        const from = timestampMs(each.fire_time) ?? 0;
        const to = timestampMs(each.resolve_time);
        return (
          <li key={index} title={each.summary}>
            <When at={from} />
            <span class="cut">
              {nameOf(each.labels) || "the fleet"}{" "}
              <span class="faint">{to === undefined ? "still firing" : `for ${durationText(to - from)}`}</span>
            </span>
            <span class="number weak">{each.worst_value === undefined ? "" : valueWords(metric, each.worst_value)}</span>
          </li>
        );
      })}
      {view.alerts.length > MOST_LISTED ? <li class="faint">and {plural(view.alerts.length - MOST_LISTED, "more")}</li> : null}
    </ol>
  );
}
