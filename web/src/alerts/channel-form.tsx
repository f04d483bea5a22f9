// A channel: what it is, what goes there, how it is gathered. Secrets are written and never read: an empty field leaves them as they are.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import type { ChannelJson, WebhookChannelJson } from "../gen/pilothouse/v1/channels_pb";
import { requestId } from "../stores/control";
import { useStores } from "../ui/context";
import { TestSend } from "./channels";
import { useDesk } from "./desk";
import { Editing } from "./editing";
import { Amount, Area, Check, Choice, Field, Pairs, Span, Text } from "../ui/form";
import { Matchers } from "./matchers";

type Kind = "webhook" | "cloudEvents" | "apprise";

const KINDS: readonly (readonly [Kind, string])[] = [
  ["webhook", "Webhook (Alertmanager's JSON)"],
  ["cloudEvents", "CloudEvents"],
  ["apprise", "E-mail, Slack, PagerDuty and more (Apprise)"],
];

const FRESH: ChannelJson = { name: "", enabled: true, isDefault: true, webhook: { url: "" }, groupBy: ["alertname"] };

export function ChannelForm({ id }: { readonly id: string }): JSX.Element {
  const { ask } = useStores();
  const { channels } = useDesk();
  const found = channels.view.value.items.find((each) => each.id === id);
  const start = useMemo(() => (id === "" ? FRESH : found), [found === undefined]);
  const draft = useSignal<ChannelJson | undefined>(undefined);
  const channel = draft.value ?? start ?? FRESH;
  const set = (change: Partial<ChannelJson>): void => {
    draft.value = { ...channel, ...change };
  };
  const obstacle = channel.name?.trim() === "" ? "It needs a name" : "";
  return (
    <Editing
      kind="channel"
      at="channel"
      id={id}
      list={channels}
      found={found}
      name={found?.name ?? ""}
      obstacle={obstacle}
      save={() =>
        id === ""
          ? ask("ChannelService/CreateChannel", { channel, requestId: requestId() })
          : ask("ChannelService/UpdateChannel", { channel, etag: start?.etag ?? "" })
      }
      remove={() => ask("ChannelService/DeleteChannel", { channelId: id, etag: found?.etag ?? "" })}
      effect="What waits for it is dropped. This cannot be undone; its secrets are gone."
      beside={<TestSend channel={id === "" ? { ...channel, name: channel.name || "test" } : channel} draft={id === ""} />}
    >
      <div class="fields">
        <Field label="Name" at="name">
          <Text value={channel.name ?? ""} set={(name) => set({ name })} testId="channel-name" />
        </Field>
        <Field label="What it is" at="target">
          <Choice value={kindOf(channel)} set={(kind) => (draft.value = withKind(channel, kind))} of={KINDS} testId="channel-kind" />
        </Field>
      </div>
      <Target key={kindOf(channel)} channel={channel} set={set} stored={id !== ""} />
      <Check value={channel.enabled === true} set={(enabled) => set({ enabled })}>
        Send to it
      </Check>
      <Check value={channel.isDefault === true} set={(isDefault) => set({ isDefault })} testId="channel-default">
        Default: for rules that name no channel
      </Check>
      <Gathering channel={channel} set={set} />
    </Editing>
  );
}

function kindOf(channel: ChannelJson): Kind {
  return channel.cloudEvents !== undefined ? "cloudEvents" : channel.apprise !== undefined ? "apprise" : "webhook";
}

function withKind(channel: ChannelJson, kind: Kind): ChannelJson {
  const { webhook, cloudEvents, apprise: _apprise, ...rest } = channel;
  const url = webhook?.url ?? cloudEvents?.url ?? "";
  return {
    ...rest,
    ...(kind === "apprise" ? { apprise: { urls: [] } } : kind === "webhook" ? { webhook: { url } } : { cloudEvents: { url } }),
  };
}

interface PartProps {
  readonly channel: ChannelJson;
  readonly set: (change: Partial<ChannelJson>) => void;
}

function Target({ channel, set, stored }: PartProps & { readonly stored: boolean }): JSX.Element {
  const kind = kindOf(channel);
  if (kind === "apprise") {
    const { apprise = {} } = channel;
    return (
      <Field
        label="Apprise URLs, one a line"
        hint={stored ? `set, not shown: ${(apprise.services ?? []).join(", ")}` : ""}
        at="apprise.urls"
        deep
      >
        <Area
          value={(apprise.urls ?? []).join("\n")}
          set={(text) =>
            set({
              apprise: {
                ...apprise,
                urls: text
                  .split("\n")
                  .map((each) => each.trim())
                  .filter((each) => each !== ""),
              },
            })
          }
          testId="channel-urls"
        />
        <span class="faint small">
          <code>mailtos://user:password@example.com</code>, <code>slack://tokenA/tokenB/tokenC</code>, <code>pagerduty://key@api</code>
        </span>
      </Field>
    );
  }
  const at = kind === "webhook" ? "webhook" : "cloud_events";
  const target: WebhookChannelJson = channel[kind] ?? {};
  const change = (each: Partial<WebhookChannelJson>): void => set({ [kind]: { ...target, ...each } } as Partial<ChannelJson>);
  return (
    <>
      <Field label="URL" hint="its host has to be allowed by the server" at={`${at}.url`}>
        <Text value={target.url ?? ""} set={(url) => change({ url })} placeholder="https://example.com/alerts" testId="channel-url" />
      </Field>
      <Field label="Secret" hint="signs each request" at={`${at}.secret`}>
        <Text
          type="password"
          value={target.secret ?? ""}
          set={(secret) => change({ secret })}
          placeholder={stored ? "if set, not shown; empty leaves it" : ""}
          testId="channel-secret"
        />
      </Field>
      <Field label="Headers" hint="values are never shown again" at={`${at}.headers`} deep group>
        <Pairs map={target.headers} set={(headers) => change({ headers })} add="header" testId="channel-headers" secret />
      </Field>
    </>
  );
}

function Gathering({ channel, set }: PartProps): JSX.Element {
  return (
    <details>
      <summary>Which alerts, and how they are gathered</summary>
      <div class="fields">
        <Field label="Only from severity" at="min_severity">
          <Choice
            value={channel.minSeverity ?? "SEVERITY_UNSPECIFIED"}
            set={(minSeverity) => set({ minSeverity })}
            of={[
              ["SEVERITY_UNSPECIFIED", "all"],
              ["SEVERITY_WARNING", "warning"],
              ["SEVERITY_CRITICAL", "critical"],
            ]}
          />
        </Field>
        <Field label="Told together by" hint="labels" at="group_by" deep>
          <Text
            value={(channel.groupBy ?? []).join(", ")}
            set={(text) =>
              set({
                groupBy: text
                  .split(",")
                  .map((each) => each.trim())
                  .filter((each) => each !== ""),
              })
            }
          />
        </Field>
        <Field label="Only alerts that match" at="matchers" class="whole" deep group>
          <Matchers items={channel.matchers} set={(matchers) => set({ matchers })} />
        </Field>
        <Field label="A group waits" at="group_wait">
          <Span value={channel.groupWait} set={(each) => set(spanOf("groupWait", each))} placeholder="0s" />
        </Field>
        <Field label="Then at least" at="group_interval">
          <Span value={channel.groupInterval} set={(each) => set(spanOf("groupInterval", each))} placeholder="5s" />
        </Field>
        <Field label="Told again after" at="repeat_interval">
          <Span value={channel.repeatInterval} set={(each) => set(spanOf("repeatInterval", each))} placeholder="4h" />
        </Field>
        <Field label="“All is well” every" at="heartbeat_interval">
          <Span value={channel.heartbeatInterval} set={(each) => set(spanOf("heartbeatInterval", each))} placeholder="never" />
        </Field>
        <Field label="At most a minute" hint="0 is 60" at="rate_limit_per_minute">
          <Amount value={channel.rateLimitPerMinute ?? 0} set={(value) => set({ rateLimitPerMinute: Math.round(value ?? 0) })} />
        </Field>
        <Check value={channel.skipResolved === true} set={(skipResolved) => set({ skipResolved })}>
          Tell ends only along with others
        </Check>
      </div>
    </details>
  );
}

// An absent duration is left out of the JSON that is sent.
const spanOf = (key: keyof ChannelJson, value: string | undefined): Partial<ChannelJson> => ({ [key]: value }) as Partial<ChannelJson>;
