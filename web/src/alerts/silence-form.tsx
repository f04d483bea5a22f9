// A new silence. What it would hide is asked for while it is written, so that nobody silences more than was meant.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { exactTime, plural, when } from "../core/format";
import type { MatcherJson } from "../gen/pilothouse/v1/matchers_pb";
import type { PreviewSilenceResponseJson, SilenceJson } from "../gen/pilothouse/v1/silences_pb";
import { CallError, problemWords } from "../live/call";
import { requestId } from "../stores/control";
import { Copy } from "../ui/copy";
import { useStores } from "../ui/context";
import { useDesk } from "./desk";
import { Area, Choice, Field, Span, Submit, Text, Wrong } from "../ui/form";
import { Matchers } from "./matchers";
import { useTask } from "../ui/lists";
import { Side } from "../ui/side";
import { timestampMs } from "../core/time";
import { cliOf } from "../core/words";

type Kind = "once" | "recurring" | "resolved";

const CHECK_MS = 300;
const KINDS: readonly (readonly [Kind, string])[] = [
  ["once", "once, for a time"],
  ["resolved", "until they are resolved"],
  ["recurring", "again and again"],
];
const SPANS = ["30m", "1h", "4h", "1d", "7d"];

interface Draft {
  readonly kind: Kind;
  readonly matchers: MatcherJson[];
  readonly forMs: number;
  // Local time of a datetime-local field; empty is now, or for ever.
  readonly start: string;
  readonly end: string;
  readonly cron: string;
  readonly timeZone: string;
  readonly duration: string | undefined;
  readonly comment: string;
}

function silenceOf(draft: Draft, now: number): SilenceJson {
  const start = draft.start === "" ? undefined : new Date(draft.start).toISOString();
  const common = {
    matchers: draft.matchers.filter((each) => each.name !== ""),
    comment: draft.comment.trim(),
    ...(start === undefined ? {} : { startTime: start }),
  };
  switch (draft.kind) {
    case "once":
      return { ...common, endTime: new Date((start === undefined ? now : Date.parse(start)) + draft.forMs).toISOString() };
    case "resolved":
      return { ...common, untilResolved: true };
    case "recurring":
      return {
        ...common,
        recurrence: { cron: draft.cron, timeZone: draft.timeZone, duration: draft.duration ?? "0s" },
        ...(draft.end === "" ? {} : { endTime: new Date(draft.end).toISOString() }),
      };
  }
}

export function SilenceForm({ of }: { readonly of: string }): JSX.Element {
  const { route, ask, alerts, messages, clock } = useStores();
  const desk = useDesk();
  const alert = alerts.active.value.find((each) => each.id === of.replace(":for:", ""));
  const start = useMemo(
    (): Draft => ({ ...EMPTY, matchers: matchersOf(alert), timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone }),
    [],
  );
  const draft = useSignal(start);
  const set = (change: Partial<Draft>): void => {
    draft.value = { ...draft.value, ...change };
  };
  const task = useTask();
  const { kind, matchers } = draft.value;
  const silence = silenceOf(draft.value, clock.serverNow());
  const obstacle = silence.matchers?.length === 0 ? "Say which alerts" : silence.comment === "" ? "Say why" : "";
  const seen = usePreview(draft.value);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const done = await task.run(() =>
      ask("SilenceService/CreateSilence", { silence: silenceOf(draft.value, clock.serverNow()), requestId: requestId() }),
    );
    if (done) {
      messages.say("good", "Silenced");
      desk.silences.refresh();
      route.go({ open: "" });
    }
  };
  const cli = cliOf("silences create", "", [["silence", JSON.stringify(silence)]]);
  return (
    <Side title="New silence" label="New silence" testId="silence-form">
      <Wrong.Provider value={{ at: "silence", violations: [...task.view.value.violations, ...seen.violations] }}>
        <form class="stack" onSubmit={(event) => void submit(event)}>
          <Field label="Alerts that match all of these" hint="alertname, rule_id, severity or any label" at="matchers" deep group>
            <Matchers items={matchers} set={(each) => set({ matchers: each })} testId="silence-matchers" />
          </Field>
          <Field label="Keep them quiet" at="until_resolved">
            <Choice value={kind} set={(each) => set({ kind: each })} of={KINDS} testId="silence-kind" />
          </Field>
          {kind === "once" ? (
            <Once draft={draft.value} set={set} />
          ) : kind === "recurring" ? (
            <Recurring draft={draft.value} set={set} />
          ) : null}
          <Field label="Why" at="comment">
            <Area value={draft.value.comment} set={(comment) => set({ comment })} testId="silence-comment" />
          </Field>
          <Preview seen={seen} />
          <div class="acts">
            <Copy text={cli} what="command line of it" />
            <span class="grow" />
            <button type="button" class="button" onClick={() => route.go({ open: "" })}>
              Back
            </button>
            <Submit task={task} obstacle={obstacle} testId="silence-save">
              Silence
            </Submit>
          </div>
        </form>
      </Wrong.Provider>
    </Side>
  );
}

const EMPTY: Draft = {
  ...{ kind: "once", matchers: [{ name: "alertname", type: "MATCH_TYPE_EQUAL", value: "" }], forMs: 3_600_000, start: "", end: "" },
  ...{ cron: "0 22 * * 1-5", timeZone: "UTC", duration: "3600s", comment: "" },
};

function matchersOf(alert: { readonly ruleName: string; readonly labels: Readonly<Record<string, string>> } | undefined): MatcherJson[] {
  const pairs =
    alert === undefined ? [["alertname", ""] as const] : [["alertname", alert.ruleName] as const, ...Object.entries(alert.labels)];
  return pairs.map(([name, value]) => ({ name, type: "MATCH_TYPE_EQUAL", value }));
}

interface PartProps {
  readonly draft: Draft;
  readonly set: (change: Partial<Draft>) => void;
}

function Once({ draft, set }: PartProps): JSX.Element {
  const now = useStores().clock.now.value;
  const begin = draft.start === "" ? now : Date.parse(draft.start);
  return (
    <>
      <Field label="For" hint={`until ${when(begin + draft.forMs, now)}`} at="end_time" group>
        <div class="picks">
          {SPANS.map((each) => {
            const ms = Number.parseInt(each, 10) * { m: 60_000, h: 3_600_000, d: 86_400_000 }[each.at(-1) as "m" | "h" | "d"];
            return (
              <button key={each} type="button" class="chip" aria-pressed={draft.forMs === ms} onClick={() => set({ forMs: ms })}>
                {each}
              </button>
            );
          })}
          <Span
            key={draft.forMs}
            value={`${draft.forMs / 1000}s`}
            set={(json) => json !== undefined && set({ forMs: Number.parseFloat(json) * 1000 })}
            label="For how long"
            testId="silence-for"
          />
        </div>
      </Field>
      <Field label="From" hint="empty is now" at="start_time">
        <Text type="datetime-local" value={draft.start} set={(value) => set({ start: value })} />
      </Field>
    </>
  );
}

function Recurring({ draft, set }: PartProps): JSX.Element {
  return (
    <div class="fields">
      <Field label="Begins" hint="minute hour day month weekday" at="recurrence.cron">
        <Text value={draft.cron} set={(cron) => set({ cron })} testId="silence-cron" />
      </Field>
      <Field label="Time zone" at="recurrence.time_zone">
        <Text value={draft.timeZone} set={(timeZone) => set({ timeZone })} />
      </Field>
      <Field label="Each time for" at="recurrence.duration">
        <Span value={draft.duration} set={(duration) => set({ duration })} />
      </Field>
      <Field label="Until" at="end_time">
        <Text type="datetime-local" value={draft.end} set={(end) => set({ end })} testId="silence-end" />
      </Field>
    </div>
  );
}

interface Seen {
  readonly phase: "waiting" | "asking" | "known" | "refused";
  readonly answer: PreviewSilenceResponseJson | undefined;
  readonly problem: string;
  readonly violations: CallError["violations"];
}

function usePreview(draft: Draft): Seen {
  const { ask, clock } = useStores();
  const view = useSignal<Seen>({ phase: "waiting", answer: undefined, problem: "", violations: [] });
  const { comment: _comment, ...decides } = draft;
  useEffect(() => {
    const silence = silenceOf({ ...draft, comment: draft.comment || "preview" }, clock.serverNow());
    if (silence.matchers?.length === 0 || silence.matchers?.every((each) => each.value === "") === true) {
      view.value = { ...view.peek(), phase: "waiting", answer: undefined, violations: [] };
      return undefined;
    }
    const abort = new AbortController();
    view.value = { ...view.peek(), phase: "asking" };
    const timer = setTimeout(async () => {
      try {
        const answer = await ask("SilenceService/PreviewSilence", { silence }, abort.signal);
        view.value = { phase: "known", answer, problem: "", violations: [] };
      } catch (error) {
        if (!abort.signal.aborted) {
          const violations = error instanceof CallError ? error.violations : [];
          view.value = { phase: "refused", answer: undefined, problem: problemWords(error), violations };
        }
      }
    }, CHECK_MS);
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [JSON.stringify(decides)]);
  return view.value;
}

function Preview({ seen }: { readonly seen: Seen }): JSX.Element {
  const { clock } = useStores();
  const { answer } = seen;
  const now = clock.now.value;
  const spans = answer?.spans ?? [];
  return (
    <section
      class="preview-box"
      aria-live="polite"
      data-testid="silence-preview"
      data-phase={seen.phase}
      data-count={answer?.alertCount ?? 0}
    >
      {answer === undefined ? (
        <p class="weak">
          {seen.phase === "refused"
            ? `What it hides is not known: ${seen.problem}`
            : seen.phase === "asking"
              ? "Looking at what it hides…"
              : "Say which alerts to see what it hides."}
        </p>
      ) : (
        <>
          <p>
            <b>Hides {plural(answer.alertCount ?? 0, "alert")}</b> now{" "}
            <span class="weak">· {plural(answer.recentCount ?? 0, "alert")} of the last 7 days match</span>
          </p>
          <ul class="small">
            {(answer.alerts ?? []).slice(0, 8).map((each) => (
              <li key={each.id} class="cut">
                {each.ruleName} <span class="weak">{Object.values(each.labels ?? {}).join(" · ")}</span>{" "}
                <span class="faint">{each.summary}</span>
              </li>
            ))}
          </ul>
          {spans.length === 0 ? null : (
            <p class="weak small">
              Holds{" "}
              {spans.map((each, index) => {
                const from = timestampMs(each.startTime) ?? now;
                const to = timestampMs(each.endTime);
                return (
                  <span key={index} title={exactTime(from)}>
                    {index === 0 ? "" : ", "}
                    {when(from, now)}–{to === undefined ? "resolved" : when(to, now)}
                  </span>
                );
              })}
            </p>
          )}
        </>
      )}
    </section>
  );
}
