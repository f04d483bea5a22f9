// A rule: its form left, what it would have done right, its versions below. The server judges each draft while it is typed.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { durationText, plural } from "../core/format";
import { jsonMs } from "../core/time";
import { cliOf } from "../core/words";
import type { AlertRuleJson, ConditionJson } from "../gen/pilothouse/v1/rules_pb";
import { CallError, type Violation } from "../live/call";
import { requestId } from "../stores/control";
import { isFiring } from "../stores/alerts";
import { Copy } from "../ui/copy";
import { useStores } from "../ui/context";
import { Note } from "../ui/panel";
import { ConditionNode, freshThreshold } from "./condition";
import { Confirm } from "../ui/confirm";
import { useDesk } from "./desk";
import { Amount, Area, Check, Choice, Field, Pairs, Picks, ReasonField, Rows, Span, Submit, Text, Wrong } from "../ui/form";
import { Matchers } from "./matchers";
import { useShown, useTask } from "../ui/lists";
import { Preview } from "./preview";
import { Toggle } from "./rules";
import { RuleVersions } from "./versions";
import { NO_DATA, conditionWords, thresholdsOf } from "./words";

const CHECK_MS = 400;

const FRESH: AlertRuleJson = {
  ...{ name: "", enabled: true, condition: { threshold: freshThreshold() }, forDuration: "60s", keepFiringFor: "60s" },
  ...{ noDataPolicy: "NO_DATA_POLICY_KEEP", severity: "SEVERITY_WARNING" },
};

// A zero is left out of JSON; in a form it is a number like others.
function whole(condition: ConditionJson | undefined): ConditionJson {
  const each = (inner: readonly ConditionJson[] | undefined): ConditionJson[] => (inner ?? []).map((one) => whole(one));
  if (condition?.all !== undefined) {
    return { all: { conditions: each(condition.all.conditions) } };
  }
  return condition?.any !== undefined
    ? { any: { conditions: each(condition.any.conditions) } }
    : { threshold: { threshold: 0, ...condition?.threshold } };
}

export function RuleForm({ rule }: { readonly rule: AlertRuleJson | undefined }): JSX.Element {
  const { route, ask, messages, alerts } = useStores();
  const desk = useDesk();
  useShown(desk.escalations);
  const start = useMemo(() => (rule === undefined ? FRESH : { ...rule, condition: whole(rule.condition) }), []);
  const draft = useSignal<AlertRuleJson>(start);
  const reason = useSignal("");
  const seen = useSignal(rule?.etag ?? "");
  const deleting = useSignal(false);
  const task = useTask();
  const checked = useCheck(draft.value, draft.value === start, rule === undefined);
  const set = (change: Partial<AlertRuleJson>): void => {
    draft.value = { ...draft.value, ...change };
  };
  const firing = alerts.active.value.filter((alert) => alert.ruleId === rule?.id && isFiring(alert)).length;
  const incomplete = thresholdsOf(draft.value.condition).some((each) => each.threshold === undefined)
    ? "Every comparison needs a threshold"
    : "";
  const obstacle =
    incomplete ||
    (draft.value === start && rule !== undefined ? "Nothing is changed yet" : "") ||
    (draft.value.name?.trim() === "" ? "It needs a name" : "");
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const said = reason.value.trim();
    const done = await task.run(async () => {
      if (rule === undefined) {
        await ask("RuleService/CreateRule", { rule: draft.value, reason: said, requestId: requestId() });
      } else {
        await ask("RuleService/UpdateRule", { rule: draft.value, reason: said, etag: seen.value });
      }
    });
    if (done) {
      messages.say("good", `${draft.value.name} ${rule === undefined ? "made" : "changed"}`);
      desk.rules.refresh();
      route.go({ open: "" });
    }
  };
  const violations = [...task.view.value.violations, ...checked.violations];
  const changedBelow = rule !== undefined && rule.etag !== seen.value;
  return (
    <Wrong.Provider value={{ at: "rule", violations }}>
      <div class="rule-page" data-testid="rule-page">
        <form
          class="panel rule-form"
          aria-label="Rule"
          onSubmit={(event) => void submit(event)}
          data-testid="rule-form"
          data-checked={checked.phase}
        >
          <header>
            <a href={route.href({ open: "" })}>‹ Rules</a>
            <h2 class="cut">{rule?.name ?? "New rule"}</h2>
            <div class="aside">{rule === undefined ? null : <Toggle rule={rule} firing={firing} />}</div>
          </header>
          <div class="body">
            {changedBelow ? (
              <Note tone="warning">
                Somebody changed this rule since you opened it (version {rule.version}).{" "}
                <button
                  type="button"
                  class="link"
                  onClick={() => {
                    seen.value = rule.etag ?? "";
                    draft.value = { ...rule, condition: whole(rule.condition) };
                  }}
                >
                  Begin again from it
                </button>
              </Note>
            ) : null}
            <RuleFields key={seen.value} draft={draft.value} set={set} fresh={rule === undefined} />
          </div>
          <footer>
            <ReasonField value={reason} hint="kept with the version" testId="rule-reason" />
            {checked.words === "" ? null : (
              <p class="wrong" data-testid="rule-wrong">
                {checked.words}
              </p>
            )}
            {checked.resets && firing > 0 ? (
              <p class="tone-warning small">Saving begins it anew: {plural(firing, "alert")} will be resolved.</p>
            ) : null}
            <div class="acts">
              {rule === undefined ? null : (
                <button type="button" class="button danger" onClick={() => (deleting.value = true)} data-testid="rule-delete">
                  Delete
                </button>
              )}
              <span class="grow" />
              <Copy text={draftCli(draft.value, rule === undefined, reason.value)} what="command line of it" />
              <Submit task={task} obstacle={obstacle} testId="rule-save">
                {rule === undefined ? "Make rule" : "Save"}
              </Submit>
            </div>
          </footer>
        </form>
        <div class="rule-side">
          <section class="panel">
            <header>
              <h2>What it would have done</h2>
            </header>
            <div class="body pad">
              <p class="sentence">{sentenceOf(draft.value)}</p>
              <Preview draft={draft.value} wrong={incomplete !== "" || checked.inCondition} />
            </div>
          </section>
          {rule === undefined ? null : <RuleVersions rule={rule} />}
        </div>
        {deleting.value && rule !== undefined ? (
          <Confirm
            title={`Delete “${rule.name}”?`}
            label="Delete rule"
            done={`${rule.name} deleted`}
            word={rule.name ?? ""}
            cli={(said) => cliOf("rules delete", rule.id ?? "", [["reason", said]])}
            act={(said) => ask("RuleService/DeleteRule", { ruleId: rule.id ?? "", etag: rule.etag ?? "", reason: said })}
            close={(done) => {
              deleting.value = false;
              if (done) {
                desk.rules.refresh();
                route.go({ open: "" });
              }
            }}
          >
            Its {plural(firing, "firing alert")} will be resolved. They and its versions stay in the history.
          </Confirm>
        ) : null}
      </div>
    </Wrong.Provider>
  );
}

function draftCli(draft: AlertRuleJson, fresh: boolean, reason: string): string {
  const { createTime: _c, updateTime: _u, updatedBy: _b, etag: _e, meters: _m, instanceCount: _i, version: _v, ...said } = draft;
  return cliOf(`rules ${fresh ? "create" : "update"}`, "", [
    ["rule", JSON.stringify(said)],
    ["reason", reason.trim()],
  ]);
}

function sentenceOf(draft: AlertRuleJson): JSX.Element {
  const ms = jsonMs(draft.forDuration);
  const held = ms === 0 ? "" : ` for ${durationText(ms)}`;
  return (
    <>
      Fires when <b>{conditionWords(draft.condition)}</b>
      {held}.
    </>
  );
}

interface Checked {
  readonly phase: "untouched" | "checking" | "right" | "wrong";
  readonly violations: readonly Violation[];
  // What no field shows.
  readonly words: string;
  readonly inCondition: boolean;
  readonly resets: boolean;
}

const UNTOUCHED: Checked = { phase: "untouched", violations: [], words: "", inCondition: false, resets: false };

// Asks the server about the draft a moment after each change.
function useCheck(draft: AlertRuleJson, untouched: boolean, fresh: boolean): Checked {
  const { ask } = useStores();
  const view = useSignal(UNTOUCHED);
  useEffect(() => {
    if (untouched) {
      view.value = UNTOUCHED;
      return undefined;
    }
    const abort = new AbortController();
    view.value = { ...view.peek(), phase: "checking" };
    const timer = setTimeout(async () => {
      try {
        const input = { rule: draft, validateOnly: true };
        const resets = fresh
          ? (await ask("RuleService/CreateRule", input, abort.signal), false)
          : (await ask("RuleService/UpdateRule", input, abort.signal)).resetsInstances === true;
        view.value = { ...UNTOUCHED, phase: "right", resets };
      } catch (error) {
        if (!abort.signal.aborted) {
          view.value = wrongBy(error);
        }
      }
    }, CHECK_MS);
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [draft, untouched]);
  return view.value;
}

function wrongBy(error: unknown): Checked {
  if (!(error instanceof CallError) || error.code === "UNREACHABLE" || error.code === "UNIMPLEMENTED") {
    return UNTOUCHED;
  }
  const { violations } = error;
  const first = violations[0];
  const words = first === undefined ? error.message : `${first.field.replace(/^rule\./, "")}: ${first.description}`;
  return {
    phase: "wrong",
    violations,
    words,
    inCondition: violations.some(({ field }) => field.startsWith("rule.condition")),
    resets: false,
  };
}

interface FieldsProps {
  readonly draft: AlertRuleJson;
  readonly set: (change: Partial<AlertRuleJson>) => void;
  readonly fresh: boolean;
}

function RuleFields({ draft, set, fresh }: FieldsProps): JSX.Element {
  return (
    <>
      <div class="fields">
        <Field label="Name" at="name">
          <Text value={draft.name ?? ""} set={(name) => set({ name })} testId="rule-name" />
        </Field>
        <Field label="Severity" at="severity">
          <Choice
            value={draft.severity ?? "SEVERITY_WARNING"}
            set={(severity) => set({ severity })}
            of={[
              ["SEVERITY_WARNING", "Warning"],
              ["SEVERITY_CRITICAL", "Critical"],
            ]}
            testId="rule-severity"
          />
        </Field>
        <Field label="What it is for" at="description" class="whole">
          <Area value={draft.description ?? ""} set={(description) => set({ description })} testId="rule-description" />
        </Field>
        {fresh ? (
          <Check value={draft.enabled === true} set={(enabled) => set({ enabled })}>
            Evaluate it at once
          </Check>
        ) : null}
      </div>
      <h3>Condition</h3>
      <Field label="" at="condition" group>
        <ConditionNode node={draft.condition ?? {}} set={(condition) => set({ condition })} at="condition" />
      </Field>
      <h3>Timing</h3>
      <div class="fields three">
        <Field label="Must hold for" at="for_duration">
          <Span
            value={draft.forDuration}
            set={(forDuration) => set({ forDuration: forDuration ?? "0s" })}
            placeholder="at once"
            testId="rule-for"
          />
        </Field>
        <Field label="Must be over for" at="keep_firing_for">
          <Span
            value={draft.keepFiringFor}
            set={(keepFiringFor) => set({ keepFiringFor: keepFiringFor ?? "0s" })}
            placeholder="at once"
            testId="rule-keep"
          />
        </Field>
        <Field label="Without data" at="no_data_policy">
          <Choice value={draft.noDataPolicy ?? "NO_DATA_POLICY_KEEP"} set={(noDataPolicy) => set({ noDataPolicy })} of={NO_DATA} />
        </Field>
      </div>
      <Telling draft={draft} set={set} />
      <More draft={draft} set={set} />
    </>
  );
}

function Telling({ draft, set }: Omit<FieldsProps, "fresh">): JSX.Element {
  const { channels, escalations } = useDesk();
  const known = escalations.view.value.items;
  const of = [["", "none"] as const, ...known.map((each) => [each.id ?? "", each.name ?? ""] as const)];
  return (
    <>
      <h3>Who is told</h3>
      <div class="fields">
        <Field label="Channels" hint="none chosen: the default ones" at="channels" deep group class="whole">
          <Picks
            chosen={draft.channels}
            set={(chosen) => set({ channels: chosen })}
            of={channels.view.value.items}
            none="There are no channels yet; make them under Channels."
            testId="rule-channels"
          />
        </Field>
        <Field label="Escalation" hint="until somebody acknowledges" at="escalation">
          <Choice value={draft.escalation ?? ""} set={(escalation) => set({ escalation })} of={of} />
        </Field>
      </div>
    </>
  );
}

function More({ draft, set }: Omit<FieldsProps, "fresh">): JSX.Element {
  return (
    <details open={draft.labels !== undefined || draft.annotations !== undefined || draft.inhibitedBy !== undefined}>
      <summary>Labels, annotations, inhibition, limit</summary>
      <div class="fields one">
        <Field label="Labels" hint="may use {{ $labels.agent_id }}" at="labels" deep group>
          <Pairs map={draft.labels} set={(labels) => set({ labels })} add="label" testId="rule-labels" />
        </Field>
        <Field label="Annotations" hint="may use {{ $value | humanize }} too" at="annotations" deep group>
          <Pairs map={draft.annotations} set={(annotations) => set({ annotations })} add="annotation" testId="rule-annotations" />
        </Field>
        <Field label="Inhibited" hint="kept quiet while an alert fires that matches" at="inhibited_by" deep group>
          <Rows
            items={draft.inhibitedBy ?? []}
            set={(inhibitedBy) => set({ inhibitedBy })}
            fresh={{ sourceMatchers: [{ name: "alertname", type: "MATCH_TYPE_EQUAL", value: "" }] }}
            add="inhibition"
            testId="rule-inhibition"
            row={(item, change) => (
              <div class="grow">
                <Matchers items={item.sourceMatchers} set={(sourceMatchers) => change({ ...item, sourceMatchers })} />
                <Text
                  value={(item.equal ?? []).join(", ")}
                  set={(text) =>
                    change({
                      ...item,
                      equal: text
                        .split(",")
                        .map((each) => each.trim())
                        .filter((each) => each !== ""),
                    })
                  }
                  label="Labels that have to be equal"
                  placeholder="and these labels are equal: agent_id, stage"
                />
              </div>
            )}
          />
        </Field>
        <Field label="At most so many alerts at a time" hint="0 is 10,000" at="instance_limit">
          <Amount value={draft.instanceLimit ?? 0} set={(value) => set({ instanceLimit: Math.round(value ?? 0) })} />
        </Field>
      </div>
    </details>
  );
}
