// The metric of the alert's rule over the time of the alert, with what it is compared with and when it fired.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { count, durationText } from "../core/format";
import type { Span } from "../core/history";
import { jsonMs, timestampMs } from "../core/time";
import type { AlertRuleJson } from "../gen/pilothouse/v1/rules_pb";
import { problemWords } from "../live/call";
import { useStores } from "../ui/context";
import { Note } from "../ui/panel";
import { RulePlot } from "./plot";
import { type Series, subjectOf } from "./series";
import { Part } from "../ui/side";
import { useDesk } from "./desk";
import type { Alert, Evidence } from "../core/wire";
import { isGrave } from "../core/words";

const BEFORE_MS = 15 * 60_000;
const AFTER_MS = 5 * 60_000;
const LONGEST_MS = 24 * 3_600_000;
const AGAIN_MS = 10_000;

export function EvidenceChart({ alert }: { readonly alert: Alert }): JSX.Element {
  const chosen = useSignal(alert.evidence[0]?.thresholdIndex ?? 0);
  const rule = useRuleOf(alert);
  const subject = subjectOf(alert, rule, chosen.value);
  const several = alert.evidence.length > 1;
  return (
    <Part title="What decided" testId="alert-evidence">
      <ul class="evidence-list">
        {alert.evidence.map((each) => (
          <li key={each.thresholdIndex}>
            <Decided each={each} />
            {several ? (
              <button
                type="button"
                class="link small"
                aria-pressed={chosen.value === each.thresholdIndex}
                onClick={() => (chosen.value = each.thresholdIndex)}
              >
                {chosen.value === each.thresholdIndex ? "on the chart" : "show on the chart"}
              </button>
            ) : null}
          </li>
        ))}
      </ul>
      {subject === undefined ? (
        <p class="weak">
          {rule === undefined
            ? "It is of no rule that is kept here, so there is no chart of what it compared."
            : "No history is kept of what this rule looks at; its value is above."}
        </p>
      ) : (
        <Plotted key={`${chosen.value} ${rule?.version}`} alert={alert} subject={subject} />
      )}
    </Part>
  );
}

function Decided({ each }: { readonly each: Evidence }): JSX.Element {
  return (
    <p>
      {each.subject} <b>{each.valueText}</b> <span class="weak">{each.comparisonText}</span>
      {each.samples === "0" ? null : <span class="faint"> · of {count(Number(each.samples))}</span>}
    </p>
  );
}

// The version of the rule with which the alert began, which may not be the newest.
function useRuleOf(alert: Alert): AlertRuleJson | undefined {
  const { alerts, ask } = useStores();
  const newest = alerts.rules.value?.find((each) => each.id === alert.ruleId);
  const then = useSignal<AlertRuleJson | undefined>(undefined);
  const same = newest === undefined || newest.version === String(alert.ruleVersion);
  useEffect(() => {
    if (!same) {
      ask("RuleService/GetRule", { ruleId: alert.ruleId, version: String(alert.ruleVersion) }).then(
        (answer) => (then.value = answer.rule),
        () => (then.value = undefined),
      );
    }
  }, [alert.ruleId, same]);
  return then.value ?? newest;
}

function Plotted({ alert, subject }: { readonly alert: Alert; readonly subject: NonNullable<ReturnType<typeof subjectOf>> }): JSX.Element {
  const { clock } = useStores();
  const desk = useDesk();
  const read = useSignal<{ series: Series; span: Span } | undefined>(undefined);
  const problem = useSignal("");
  const began = timestampMs(alert.activeTime) ?? clock.serverNow();
  const fired = timestampMs(alert.fireTime);
  const over = timestampMs(alert.resolveTime);
  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const load = async (): Promise<void> => {
      const now = clock.serverNow();
      const to = over === undefined ? now : Math.min(now, over + AFTER_MS);
      const from = Math.max(began - Math.max(BEFORE_MS, jsonMs(subject.threshold.window)), to - LONGEST_MS);
      try {
        read.value = { series: await desk.series.read(subject, { from, to }, abort.signal), span: { from, to } };
        problem.value = "";
      } catch (error) {
        if (abort.signal.aborted) {
          return;
        }
        problem.value = problemWords(error);
      }
      if (alert.state !== "ALERT_STATE_RESOLVED" || problem.value !== "") {
        timer = setTimeout(() => void load(), AGAIN_MS);
      }
    };
    void load();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [alert.id, alert.state]);
  const shown = read.value;
  if (shown === undefined || shown.series.time.length === 0) {
    return problem.value === "" ? (
      <Note>{shown === undefined ? "Reading history…" : "Nothing is stored of this time any more."}</Note>
    ) : (
      <Note tone="critical">History could not be read: {problem.value}. It is asked for again.</Note>
    );
  }
  const critical = isGrave(alert.severity);
  const marks = [
    ...(fired === undefined ? [] : [{ id: "fired", at: fired, words: "fired", critical }]),
    ...(over === undefined ? [] : [{ id: "over", at: over, words: "resolved", critical: false, over: true }]),
  ];
  const percentile = subject.threshold.metric?.includes("LATENCY") === true;
  return (
    <>
      <RulePlot
        threshold={subject.threshold}
        lines={[{ label: subject.name, time: shown.series.time, values: shown.series.values }]}
        span={shown.span}
        marks={marks}
        spans={fired === undefined ? [] : [{ from: fired, to: over ?? shown.span.to, critical }]}
      />
      <p class="faint small">
        {percentile ? `Each point is of ${durationText(shown.series.stepMs)}; the rule looks at its whole window. ` : ""}
        {problem.value === "" ? "" : `Not updated: ${problem.value}.`}
      </p>
    </>
  );
}
