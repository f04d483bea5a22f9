// The versions of a rule; what each changed, the server says.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { AlertRuleJson, RuleVersionJson } from "../gen/pilothouse/v1/rules_pb";
import { useStores } from "../ui/context";
import { useList } from "../ui/listed";
import { Versions } from "../ui/versions";
import { useDesk } from "./desk";

const AGAIN_MS = 15_000;

export function RuleVersions({ rule }: { readonly rule: AlertRuleJson }): JSX.Element {
  const { ask, route } = useStores();
  const desk = useDesk();
  const { id = "" } = rule;
  const list = useList<RuleVersionJson>(
    async (pageToken, signal) => {
      const answer = await ask("RuleService/ListRuleVersions", { ruleId: id, pageSize: 20, pageToken }, signal);
      return { items: answer.versions, next: answer.nextPageToken };
    },
    AGAIN_MS,
    id,
  );
  useEffect(() => list.refresh(), [rule.version]);
  return (
    <Versions
      list={list}
      kind="rule"
      what={rule.name ?? ""}
      now={rule.version}
      changes={({ differences = [] }) => differences.map(({ path = "", before, after }) => ({ path, before, after }))}
      cli={["rules restore", id]}
      restore={(version, reason) => ask("RuleService/RestoreRule", { ruleId: id, version, etag: rule.etag ?? "", reason })}
      restored={() => {
        desk.rules.refresh();
        route.go({ open: "" });
      }}
    />
  );
}
