// How the platform behaves: what is set, what is in force without it, and every version of it. A change that meets another is answered with what
// the other changed, and keeps what was typed.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { plural } from "../core/format";
import { cliOf } from "../core/words";
import type { ConfigVersion } from "../core/wire";
import type { GetConfigResponseJson, PlatformConfigJson } from "../gen/pilothouse/v1/config_pb";
import { CallError } from "../live/call";
import { requestId } from "../stores/control";
import { useStores } from "../ui/context";
import { CliLine } from "../ui/dialog";
import { ReasonField, Submit, Wrong } from "../ui/form";
import { Standing, useList } from "../ui/listed";
import { type List, useTask } from "../ui/lists";
import { Note, Panel } from "../ui/panel";
import {
  type Change,
  Changes,
  type Contract,
  type Flat,
  SchemaFields,
  camel,
  changesOf,
  flatten,
  optionsOf,
  readContract,
  specsOf,
  unflatten,
} from "../ui/schema";
import { Versions } from "../ui/versions";

const SELDOM_MS = 600_000;
const AGAIN_MS = 10_000;

export function useContract(): List<Contract> {
  const { base } = useStores();
  return useList<Contract>(async (_token, signal) => ({ items: [await readContract(base, signal)] }), SELDOM_MS);
}

export function Configuration(): JSX.Element {
  const { ask } = useStores();
  const contract = useContract();
  const list = useList<GetConfigResponseJson>(
    async (_token, signal) => ({ items: [await ask("ConfigService/GetConfig", {}, signal)] }),
    AGAIN_MS,
  );
  const found = contract.view.value.items[0];
  const now = list.view.value.items[0];
  return (
    <div class="rule-page">
      <Panel
        title="Configuration"
        class="rule-form"
        testId="config"
        aside={now === undefined ? null : <span>version {now.current?.version ?? "0"}</span>}
      >
        <Standing list={contract} what="the contract" />
        <Standing list={list} what="the configuration" />
        {found === undefined || now === undefined ? null : <Form contract={found} now={now} list={list} />}
      </Panel>
      <ConfigVersions list={list} now={now} />
    </div>
  );
}

interface FormProps {
  readonly contract: Contract;
  readonly now: GetConfigResponseJson;
  readonly list: List<GetConfigResponseJson>;
}

function Form({ contract, now, list }: FormProps): JSX.Element {
  const { ask, messages } = useStores();
  const task = useTask();
  const reason = useSignal("");
  // What was changed here, over what is set; a field that is there and undefined is to be not set any more.
  const edits = useSignal<Flat>({});
  // What was set when the first edit was made: what a change is decided on.
  const seen = useSignal(now);
  const meanwhile = useSignal<readonly Change[]>([]);
  const touched = Object.keys(edits.value).length > 0;
  const basis = touched ? seen.value : now;
  const set = flatten(basis.current?.config ?? {});
  const defaults = flatten(now.defaults ?? {});
  const changes = changesOf(set, { ...set, ...edits.value });
  const put = (path: string, value: Flat[string]): void => {
    if (!touched) {
      seen.value = now;
    }
    edits.value = { ...edits.value, [path]: value };
  };
  const save = async (): Promise<void> => {
    const changed = Object.fromEntries(changes.map(({ path, after }) => [path, after]));
    const input = {
      config: unflatten(changed) as PlatformConfigJson,
      updateMask: Object.keys(changed).map(camel).join(","),
      reason: reason.value.trim(),
      requestId: requestId(),
      etag: basis.etag ?? "",
    };
    try {
      await ask("ConfigService/UpdateConfig", input);
    } catch (error) {
      if (error instanceof CallError && error.reason === "ETAG_MISMATCH") {
        const newer = await ask("ConfigService/GetConfig", {});
        meanwhile.value = changesOf(set, flatten(newer.current?.config ?? {}));
        seen.value = newer;
      }
      throw error;
    }
    messages.say("good", `${plural(changes.length, "setting")} changed`);
    edits.value = {};
    meanwhile.value = [];
    reason.value = "";
    list.refresh();
  };
  const submit = (event: Event): void => {
    event.preventDefault();
    if (changes.length > 0) {
      void task.run(save);
    }
  };
  const groups = Map.groupBy(specsOf(contract, "PlatformConfig"), ({ path }) => path.split(".")[0] ?? "");
  const words = (group: string): string => contract.components.schemas["PlatformConfig"]?.properties?.[group]?.description ?? group;
  return (
    <Wrong.Provider value={{ at: "config", violations: task.view.value.violations }}>
      <form class="settings" onSubmit={submit}>
        {[...groups].map(([group, specs]) => (
          <section key={group} class="stack">
            <h3>{words(group).replace(/\.$/, "")}</h3>
            <SchemaFields
              specs={specs}
              draft={{ ...set, ...edits.value }}
              set={put}
              placeholder={defaults}
              beside={({ path }) => {
                const isSet = { ...set, ...edits.value }[path] !== undefined;
                return (
                  <p class="small faint">
                    {isSet ? `set; otherwise ${defaults[path]} ` : "as the server was started "}
                    {isSet ? (
                      <button type="button" class="link small" onClick={() => put(path, undefined)} data-testid="unset">
                        take it back
                      </button>
                    ) : null}
                  </p>
                );
              }}
            />
          </section>
        ))}
        <footer class="stack">
          {meanwhile.value.length === 0 ? null : (
            <div class="preview-box" data-testid="config-meanwhile">
              <Note tone="warning">
                {seen.value.current?.actor || "Somebody"} changed this meanwhile. What you typed is kept; save again if you still mean it:
              </Note>
              <Changes of={meanwhile.value} />
            </div>
          )}
          <Changes of={changes} />
          <ReasonField value={reason} testId="config-reason" />
          {changes.length === 0 ? null : (
            <CliLine
              line={
                cliOf("config update", "", [["reason", reason.value.trim()]]) +
                optionsOf(Object.fromEntries(changes.map(({ path, after }) => [path, after])))
              }
              testId="config-cli"
            />
          )}
          <div class="tools">
            <Submit task={task} obstacle={changes.length === 0 ? "Nothing is changed" : ""} testId="config-save">
              {changes.length === 0 ? "Save" : `Change ${plural(changes.length, "setting")}`}
            </Submit>
            {touched ? (
              <button type="button" class="button" onClick={() => (edits.value = {})}>
                Undo
              </button>
            ) : null}
          </div>
        </footer>
      </form>
    </Wrong.Provider>
  );
}

function ConfigVersions({
  list,
  now,
}: {
  readonly list: List<GetConfigResponseJson>;
  readonly now: GetConfigResponseJson | undefined;
}): JSX.Element {
  const { call, ask } = useStores();
  const current = now?.current?.version ?? "0";
  const versions = useList<ConfigVersion>(
    async (pageToken, signal) => {
      const { message } = await call("ConfigService/ListConfigVersions", { pageSize: 50, pageToken }, signal);
      return { items: message.versions, next: message.nextPageToken };
    },
    AGAIN_MS,
    current,
  );
  const { items } = versions.view.value;
  // What is read is the whole of it, so each differs from the one below it; of the last, that one is not known unless it is the first.
  const changes = (at: ConfigVersion, index: number): readonly Change[] => {
    const below = items[index + 1];
    return below === undefined && at.version !== "1" ? [] : changesOf(flatten(below?.config ?? {}), flatten(at.config ?? {}));
  };
  return (
    <Versions
      list={versions}
      kind="config"
      what="The configuration"
      now={current}
      changes={changes}
      effect={(to) => <Changes of={changesOf(flatten(now?.current?.config ?? {}), flatten(to.config ?? {}))} />}
      empty="Nothing was ever set: every value is what the server was started with."
      cli={["config restore", ""]}
      restore={(version, reason) => ask("ConfigService/RestoreConfig", { version, reason, requestId: requestId(), etag: now?.etag ?? "" })}
      restored={() => list.refresh()}
    />
  );
}
