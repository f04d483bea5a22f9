// The rules as a table, or one of them in its form.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { durationText, exactTime, plural, when } from "../core/format";
import { matchesWords } from "../core/filter";
import { jsonMs, timestampMs } from "../core/time";
import { severityLook } from "../core/words";
import type { AlertRuleJson } from "../gen/pilothouse/v1/rules_pb";
import { isFiring } from "../stores/alerts";
import { Act } from "../ui/act";
import { useStores } from "../ui/context";
import { Mark } from "../ui/mark";
import { type Columns, NoMatch, Rows } from "../ui/rows";
import { Note, Panel } from "../ui/panel";
import { useDesk } from "./desk";
import { RuleForm } from "./rule-form";
import { Transfer } from "./transfer";
import { conditionWords } from "./words";

export const NEW = ":new";

export function Rules(): JSX.Element {
  const { route } = useStores();
  const open = route.open.value;
  return open === "" ? <RuleTable /> : <Opened key={open} id={open} />;
}

function Opened({ id }: { readonly id: string }): JSX.Element {
  const { route } = useStores();
  const { rules } = useDesk();
  const view = rules.view.value;
  const rule = view.items.find((each) => each.id === id);
  if (id === NEW || rule !== undefined) {
    return <RuleForm rule={rule} />;
  }
  return (
    <Panel title="Rule" class="tall" testId="alerts-rules">
      {view.at === undefined && view.phase !== "error" ? (
        <Note>Reading the rule…</Note>
      ) : (
        <Note tone="warning">
          {view.at === undefined
            ? `The rules could not be read: ${view.problem}. They are asked for again. `
            : `There is no rule “${id}” any more. `}
          <a href={route.href({ open: "" })}>All rules</a>
        </Note>
      )}
    </Panel>
  );
}

function RuleTable(): JSX.Element {
  const { route } = useStores();
  const { rules } = useDesk();
  const view = rules.view.value;
  const transfer = useSignal<"import" | "export" | undefined>(undefined);
  const words = route.filter.value;
  const found = view.items.filter((rule) =>
    matchesWords(words, [rule.name ?? "", rule.id ?? "", rule.description ?? "", conditionWords(rule.condition)]),
  );
  return (
    <Panel
      title="Rules"
      class="tall"
      testId="alerts-rules"
      aside={
        <span class="tools">
          <button type="button" class="button" onClick={() => (transfer.value = "import")} data-testid="rules-import">
            Import
          </button>
          <button type="button" class="button" onClick={() => (transfer.value = "export")} data-testid="rules-export">
            Export
          </button>
          <a class="button primary" href={route.href({ open: NEW })} data-testid="rule-new">
            New rule
          </a>
        </span>
      }
    >
      <Rows
        list={rules}
        shown={found}
        what="the rules"
        head={HEAD}
        class="listed"
        row={(rule) => <Row key={rule.id} rule={rule} />}
        none={view.items.length === 0 ? "There are no rules, so nothing can fire. Make one, or import a file." : <NoMatch what="rule" />}
      />
      {transfer.value === undefined ? null : <Transfer kind={transfer.value} close={() => (transfer.value = undefined)} />}
    </Panel>
  );
}

const HEAD: Columns = [
  ["w-name", "Name"],
  ["w-state", "State"],
  ["", "Fires when"],
  ["w-time", "For"],
  ["w-who", "Tells"],
  ["w-who", "Changed"],
  ["w-act", "Actions"],
];

function Row({ rule }: { readonly rule: AlertRuleJson }): JSX.Element {
  const { route, alerts, clock } = useStores();
  const desk = useDesk();
  const { id = "", name = "", channels = [] } = rule;
  const severity = severityLook(rule.severity ?? "SEVERITY_WARNING");
  const firing = alerts.active.value.filter((alert) => alert.ruleId === id && isFiring(alert)).length;
  const changed = timestampMs(rule.updateTime);
  const words = conditionWords(rule.condition);
  return (
    <tr
      data-row=""
      data-opens={id}
      tabIndex={-1}
      onClick={() => route.go({ open: id })}
      data-testid="rule-row"
      data-rule-id={id}
      data-enabled={rule.enabled === true}
    >
      <td class="w-name">
        <a class="name cut" href={route.href({ open: id })} onClick={(event) => event.stopPropagation()}>
          {name}
        </a>
        <span class="small weak">
          <Mark look={severity} /> {severity.word.toLowerCase()}
        </span>
      </td>
      <td class="w-state">
        {rule.enabled !== true ? (
          <span class="faint">off</span>
        ) : firing > 0 ? (
          <b class={`tone-${severity.tone}`}>{firing} firing</b>
        ) : (
          <span class="weak">watching</span>
        )}
        {rule.evaluationError === undefined ? null : (
          <span class="tone-critical small cut" title={rule.evaluationError}>
            cannot be evaluated
          </span>
        )}
      </td>
      <td class="w-why">
        <span class="cut" title={words}>
          {words}
        </span>
      </td>
      <td class="w-time weak">{jsonMs(rule.forDuration) === 0 ? "at once" : durationText(jsonMs(rule.forDuration))}</td>
      <td class="w-who weak cut">
        {channels.length === 0 ? "default channels" : channels.map((each) => desk.channelName(each)).join(", ")}
      </td>
      <td class="w-who weak cut" title={changed === undefined ? "" : exactTime(changed)}>
        {changed === undefined || (rule.updatedBy === undefined && rule.version === "1")
          ? "shipped"
          : `${when(changed, clock.serverNow())}${rule.updatedBy === undefined ? "" : ` by ${rule.updatedBy}`}`}
      </td>
      <td class="w-act">
        <Toggle rule={rule} firing={firing} />
      </td>
    </tr>
  );
}

export function Toggle({ rule, firing }: { readonly rule: AlertRuleJson; readonly firing: number }): JSX.Element {
  const { ask, messages } = useStores();
  const desk = useDesk();
  const busy = useSignal(false);
  const on = rule.enabled === true;
  const toggle = async (): Promise<void> => {
    busy.value = true;
    try {
      await ask(on ? "RuleService/DisableRule" : "RuleService/EnableRule", { ruleId: rule.id ?? "" });
      messages.say("good", `${rule.name} ${on ? "disabled" : "enabled"}`);
    } catch (error) {
      messages.say("critical", `${on ? "Disable" : "Enable"} refused: ${rule.name}`, error instanceof Error ? error.message : "");
    }
    busy.value = false;
    desk.rules.refresh();
  };
  return (
    <span class="acts" data-acts="">
      <Act
        testId="rule-toggle"
        refused={busy.value ? "Requested…" : ""}
        onClick={() => void toggle()}
        hint={on ? `Evaluate it no more${firing > 0 ? `; its ${plural(firing, "alert")} will be resolved` : ""}` : "Evaluate it again"}
      >
        {on ? "Disable" : "Enable"}
      </Act>
    </span>
  );
}
