// The engines that take commands, and what each can do to what, and when.
import type { JSX } from "preact";
import { sentence } from "../core/format";
import { timestampMs } from "../core/time";
import { actionWords, nameOf } from "../core/words";
import type { Executor } from "../core/wire";
import { useStores } from "../ui/context";
import { type Column, Listed, useList } from "../ui/listed";
import { Mark } from "../ui/mark";
import { Since } from "../ui/panel";

const SCOPES: Readonly<Record<string, string>> = { RUN: "a workflow", QUEUE: "a queue", POOL: "an agent", FLEET: "all of it" };

const COLUMNS: readonly Column<Executor>[] = [
  [
    "State",
    "w-state",
    ({ connected }) => (
      <span class="state">
        <Mark look={connected ? { tone: "good", shape: "dot" } : { tone: "critical", shape: "cross" }} /> {connected ? "Connected" : "Away"}
      </span>
    ),
  ],
  ["Engine", "w-name", ({ source }) => <b class="cut">{source}</b>],
  ["What it can do", "w-why", (executor) => <Capabilities of={executor} />],
  ["Seen", "w-time", ({ lastSeenTime }) => <Since at={timestampMs(lastSeenTime)} />],
  ["Connected", "w-time", ({ connectTime }) => <Since at={timestampMs(connectTime)} />],
];

function Capabilities({ of }: { readonly of: Executor }): JSX.Element {
  const scopes = Map.groupBy(of.capabilities, ({ scope }) => nameOf(scope, "COMMAND_SCOPE"));
  return (
    <dl class="capabilities">
      {Object.entries(SCOPES).map(([scope, words]) => (
        <div key={scope}>
          <dt class="weak small">To {words}</dt>
          <dd>
            {(scopes.get(scope) ?? []).map(({ action, boundary, selective }) => (
              <span key={action} class="tag" title={selective ? "Also of one type alone" : ""}>
                {actionWords(action)?.label ?? sentence(nameOf(action, "CONTROL_ACTION"))}
                {boundary === "COMMAND_BOUNDARY_STEP" ? " at the next step" : boundary === "COMMAND_BOUNDARY_IMMEDIATE" ? " at once" : ""}
                {selective ? ", by type" : ""}
              </span>
            ))}
            {scopes.has(scope) ? null : <span class="faint small">nothing</span>}
          </dd>
        </div>
      ))}
    </dl>
  );
}

const AGAIN_MS = 5_000;

export function Connectors(): JSX.Element {
  const { call } = useStores();
  const list = useList<Executor>(
    async (_token, signal) => ({ items: (await call("CommandService/ListExecutors", {}, signal)).message.executors }),
    AGAIN_MS,
  );
  return (
    <Listed
      title="Engines that take commands"
      what="the engines"
      list={list}
      columns={COLUMNS}
      testId="executor-row"
      id={({ source }) => source}
      state={({ connected }) => (connected ? "connected" : "away")}
      empty="No engine takes commands yet. What runs can be watched, and not steered."
    />
  );
}
