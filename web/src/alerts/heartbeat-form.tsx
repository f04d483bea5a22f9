// Something outside that has to be heard of, and the line with which it says so.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { ExpectedHeartbeatJson } from "../gen/pilothouse/v1/heartbeats_pb";
import { CliLine } from "../ui/dialog";
import { useStores } from "../ui/context";
import { curlOf } from "./channels";
import { useDesk } from "./desk";
import { Editing } from "./editing";
import { Choice, Field, Picks, Span, Text } from "../ui/form";

const FRESH: ExpectedHeartbeatJson = { id: "", interval: "3600s", grace: "300s", severity: "SEVERITY_CRITICAL" };

export function HeartbeatForm({ id }: { readonly id: string }): JSX.Element {
  const { ask, base } = useStores();
  const { heartbeats, channels } = useDesk();
  const found = heartbeats.view.value.items.find((each) => each.id === id);
  const draft = useSignal<ExpectedHeartbeatJson | undefined>(undefined);
  const heartbeat = draft.value ?? found ?? FRESH;
  const set = (change: Partial<ExpectedHeartbeatJson>): void => {
    draft.value = { ...heartbeat, ...change };
  };
  const line = curlOf(base, heartbeat.id || "ID");
  return (
    <Editing
      kind="heartbeat"
      at="heartbeat"
      id={id}
      list={heartbeats}
      found={found}
      name={id}
      obstacle={heartbeat.id === "" ? "It needs an id" : ""}
      save={() => ask("HeartbeatService/SetHeartbeat", { heartbeat })}
      remove={() => ask("HeartbeatService/DeleteHeartbeat", { heartbeatId: id })}
      effect="Its silence raises no alert any more; one that fires is resolved."
    >
      {id === "" ? (
        <Field label="Id" hint="letters, digits, - and _" at="id">
          <Text value={heartbeat.id ?? ""} set={(each) => set({ id: each })} testId="heartbeat-id" />
        </Field>
      ) : null}
      <Field label="What it is for" at="description">
        <Text value={heartbeat.description ?? ""} set={(description) => set({ description })} />
      </Field>
      <div class="fields">
        <Field label="Heard every" at="interval">
          <Span value={heartbeat.interval} set={(interval) => set({ interval: interval ?? "0s" })} testId="heartbeat-interval" />
        </Field>
        <Field label="Grace" at="grace">
          <Span value={heartbeat.grace} set={(grace) => set({ grace: grace ?? "0s" })} />
        </Field>
      </div>
      <Field label="Its silence is" at="severity">
        <Choice
          value={heartbeat.severity ?? "SEVERITY_CRITICAL"}
          set={(severity) => set({ severity })}
          of={[
            ["SEVERITY_CRITICAL", "critical"],
            ["SEVERITY_WARNING", "a warning"],
          ]}
        />
      </Field>
      <Field label="Channels" hint="none chosen: the default ones" at="channels" deep group>
        <Picks
          chosen={heartbeat.channels}
          set={(chosen) => set({ channels: chosen })}
          of={channels.view.value.items}
          none="There are no channels yet."
          testId="heartbeat-channels"
        />
      </Field>
      <CliLine line={line} what="curl line" />
    </Editing>
  );
}
