// The server that answers, and how its parts are.
import type { JSX } from "preact";
import { durationText, sentence } from "../core/format";
import { durationMs, timestampMs } from "../core/time";
import { type Look, nameOf } from "../core/words";
import type { ServerStatus } from "../core/wire";
import { useStores } from "../ui/context";
import { Fact, Standing, Table, useList } from "../ui/listed";
import { Mark } from "../ui/mark";
import { Panel, Since } from "../ui/panel";

type Component = ServerStatus["components"][number];

const LOOKS: Readonly<Record<string, Pick<Look, "tone" | "shape">>> = {
  OK: { tone: "good", shape: "dot" },
  DEGRADED: { tone: "warning", shape: "diamond" },
  DOWN: { tone: "critical", shape: "triangle" },
};

function State({ state }: { readonly state: Component["state"] }): JSX.Element {
  const name = nameOf(state, "COMPONENT_STATE");
  return (
    <span class="state">
      <Mark look={LOOKS[name] ?? { tone: "unknown", shape: "dash" }} /> {name === "OK" ? "Works" : sentence(name)}
    </span>
  );
}

const AGAIN_MS = 5_000;

export function Server(): JSX.Element {
  const { call } = useStores();
  const list = useList<ServerStatus>(async (_token, signal) => {
    const { status } = (await call("PlatformService/GetServerStatus", {}, signal)).message;
    return { items: status === undefined ? [] : [status] };
  }, AGAIN_MS);
  const status = list.view.value.items[0];
  return (
    <Panel title="Server" class="tall" testId="server" aside={status === undefined ? null : <State state={status.state} />}>
      <Standing list={list} what="the server" />
      {status === undefined ? null : (
        <div class="body">
          <dl class="facts pad">
            <Fact name="Version">{status.version}</Fact>
            <Fact name="Up for">{durationText(durationMs(status.uptime) ?? 0)}</Fact>
            <Fact name="Replica">{status.replicaId}</Fact>
            <Fact name="Log">{status.logAddress}</Fact>
            <Fact name="Database">{status.databaseAddress}</Fact>
            <Fact name="Replicas">{status.replicas.map((each) => `${each.id}${each.leads ? " (leads)" : ""}`).join(", ") || "–"}</Fact>
          </dl>
          <Table
            items={status.components}
            testId="component-row"
            id={({ name, shard }) => `${name} ${shard ?? ""}`}
            columns={[
              ["State", "w-state", ({ state }) => <State state={state} />],
              ["Part", "w-name", ({ name, shard }) => `${name}${shard === undefined ? "" : ` ${shard}`}`],
              ["What is wrong", "w-why", ({ reason }) => (reason === "" ? null : <span class="cut">{reason}</span>)],
              ["Behind", "w-time", ({ lag }) => (lag === undefined ? "" : durationText(durationMs(lag)))],
              ["Since", "w-said", ({ sinceTime }) => <Since at={timestampMs(sinceTime)} />],
            ]}
          />
        </div>
      )}
    </Panel>
  );
}
