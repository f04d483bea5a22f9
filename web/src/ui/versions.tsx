// Every version of what has versions: who changed what, when and why; and the way back, which is a new version.
import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { timestampMs } from "../core/time";
import { cliOf } from "../core/words";
import { Act } from "./act";
import { Confirm } from "./confirm";
import { Older, Standing } from "./listed";
import type { List } from "./lists";
import { Panel, When } from "./panel";
import { type Change, Changes } from "./schema";

interface Version {
  readonly version?: string;
  readonly actor?: string;
  readonly reason?: string;
  readonly createTime?: string;
  readonly deleted?: boolean;
}

interface VersionsProps<T> {
  readonly list: List<T>;
  // "rule", "config": of the test ids.
  readonly kind: string;
  // "The rule", "The configuration".
  readonly what: string;
  readonly now: string | undefined;
  readonly changes: (version: T, index: number) => readonly Change[];
  // What restoring one would change, where that is known.
  readonly effect?: (version: T) => ComponentChildren;
  readonly empty?: string;
  // Of the command line: "rules restore" and the id.
  readonly cli: readonly [command: string, id: string];
  readonly restore: (version: string, reason: string) => Promise<unknown>;
  readonly restored: () => void;
}

export function Versions<T extends Version>(props: VersionsProps<T>): JSX.Element {
  const { list, kind, what, now, changes, effect, cli } = props;
  const chosen = useSignal<T | undefined>(undefined);
  const { items } = list.view.value;
  const to = chosen.value?.version ?? "";
  return (
    <Panel title="Versions" testId={`${kind}-versions`} aside={items.length}>
      <Standing list={list} what="the versions" empty={props.empty} />
      <ol class="body versions">
        {items.map((each, index) => (
          <li key={each.version} data-testid={`${kind}-version`} data-version={each.version}>
            <p>
              <b>{each.version}</b> <span class="weak">{each.deleted === true ? "deleted by" : "by"}</span> {each.actor || "the system"}{" "}
              <When at={timestampMs(each.createTime)} class="faint" />
              {each.reason ? <span class="weak"> · {each.reason}</span> : null}
            </p>
            {each.version === now || each.deleted === true ? (
              <span class="faint small">{each.version === now ? "now" : ""}</span>
            ) : (
              <Act testId={`${kind}-restore`} refused="" hint={`${what} becomes what it was then`} onClick={() => (chosen.value = each)}>
                Restore
              </Act>
            )}
            <Changes of={changes(each, index)} />
          </li>
        ))}
      </ol>
      <Older list={list} />
      {chosen.value === undefined ? null : (
        <Confirm
          title={`Restore version ${to}?`}
          label="Restore"
          done={`${what} is as in version ${to}`}
          cli={(reason) =>
            cliOf(...cli, [
              ["version", to],
              ["reason", reason],
            ])
          }
          act={(reason) => props.restore(to, reason)}
          close={(done) => {
            chosen.value = undefined;
            if (done) {
              props.restored();
            }
          }}
        >
          {what} becomes what it was then; that is a new version, so this can be taken back.
          {effect?.(chosen.value)}
        </Confirm>
      )}
    </Panel>
  );
}
