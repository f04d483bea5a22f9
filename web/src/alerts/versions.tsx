// Every version of a rule: who changed what, when and why; and the way back.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { exactTime, when } from "../core/format";
import type { AlertRuleJson, FieldDifferenceJson, RuleVersionJson } from "../gen/pilothouse/v1/rules_pb";
import { useStores } from "../ui/context";
import { Note } from "../ui/panel";
import { Confirm } from "../ui/confirm";
import { useDesk } from "./desk";
import { Older } from "../ui/rows";
import { List, useShown } from "../ui/lists";
import { timestampMs } from "../core/time";
import { shellWord } from "../core/words";

const AGAIN_MS = 15_000;

export function Versions({ rule }: { readonly rule: AlertRuleJson }): JSX.Element {
  const { ask, route } = useStores();
  const desk = useDesk();
  const { id = "" } = rule;
  const list = useMemo(
    () =>
      new List<RuleVersionJson>(async (pageToken, signal) => {
        const answer = await ask("RuleService/ListRuleVersions", { ruleId: id, pageSize: 20, pageToken }, signal);
        return { items: answer.versions, next: answer.nextPageToken };
      }, AGAIN_MS),
    [id],
  );
  useShown(list);
  useEffect(() => list.refresh(), [rule.version]);
  const restoring = useSignal<RuleVersionJson | undefined>(undefined);
  const view = list.view.value;
  const chosen = restoring.value;
  return (
    <section class="panel" data-testid="rule-versions">
      <header>
        <h2>Versions</h2>
        <div class="aside">{view.items.length}</div>
      </header>
      <ol class="body versions">
        {view.phase === "error" ? <Note tone="warning">They could not be read: {view.problem}.</Note> : null}
        {view.items.map((version) => (
          <li key={version.version} data-testid="rule-version" data-version={version.version}>
            <Told version={version} />
            {version.version === rule.version || version.deleted === true ? (
              <span class="faint small">{version.version === rule.version ? "now" : ""}</span>
            ) : (
              <button type="button" class="button" onClick={() => (restoring.value = version)} data-testid="rule-restore">
                Restore
              </button>
            )}
            <Differences of={version.differences} />
          </li>
        ))}
      </ol>
      <Older list={list} />
      {chosen === undefined ? null : (
        <Confirm
          title={`Restore version ${chosen.version}?`}
          label="Restore"
          done={`${rule.name} is as in version ${chosen.version}`}
          cli={(said) =>
            `pilothouse rules restore ${shellWord(id)} --version=${chosen.version}${said === "" ? "" : ` --reason=${shellWord(said)}`}`
          }
          act={(reason) => ask("RuleService/RestoreRule", { ruleId: id, version: chosen.version ?? "0", etag: rule.etag ?? "", reason })}
          close={(done) => {
            restoring.value = undefined;
            if (done) {
              desk.rules.refresh();
              route.go({ open: "" });
            }
          }}
        >
          The rule becomes what it was then; that is a new version, so this can be taken back.
        </Confirm>
      )}
    </section>
  );
}

function Told({ version }: { readonly version: RuleVersionJson }): JSX.Element {
  const { clock } = useStores();
  const at = timestampMs(version.createTime);
  return (
    <p>
      <b>{version.version}</b> <span class="weak">{version.deleted === true ? "deleted by" : "by"}</span> {version.actor || "the system"}{" "}
      <time class="faint" title={at === undefined ? "" : exactTime(at)}>
        {at === undefined ? "" : when(at, clock.serverNow())}
      </time>
      {version.reason === undefined ? null : <span class="weak"> · {version.reason}</span>}
    </p>
  );
}

function Differences({ of = [] }: { readonly of: readonly FieldDifferenceJson[] | undefined }): JSX.Element | null {
  return of.length === 0 ? null : (
    <dl class="differences">
      {of.map((each) => (
        <div key={each.path}>
          <dt class="mono faint">{each.path}</dt>
          <dd class="mono">
            {each.before === undefined ? null : <del>{each.before}</del>} {each.after === undefined ? null : <ins>{each.after}</ins>}
          </dd>
        </div>
      ))}
    </dl>
  );
}
