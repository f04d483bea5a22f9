// The stores of the Alerts page, made when it is first opened. Lists of one page are few and change seldom, so they are read again rather than followed.
import { createContext } from "preact";
import { signal } from "@preact/signals";
import { useContext } from "preact/hooks";
import type { ChannelJson } from "../gen/pilothouse/v1/channels_pb";
import type { DeliveryJson } from "../gen/pilothouse/v1/deliveries_pb";
import type { EscalationJson } from "../gen/pilothouse/v1/escalations_pb";
import type { ExpectedHeartbeatJson } from "../gen/pilothouse/v1/heartbeats_pb";
import type { AlertRuleJson } from "../gen/pilothouse/v1/rules_pb";
import type { SilenceJson } from "../gen/pilothouse/v1/silences_pb";
import type { Stores } from "../stores/app";
import { List } from "../ui/lists";
import { SeriesStore } from "./series";
import type { Alert } from "../core/wire";

export type Verb = "acknowledge" | "unacknowledge" | "assign" | "comment" | "resolve";

export interface Asked {
  readonly alert: Alert;
  readonly verb: Verb;
}

const OFTEN_MS = 5_000;

export class Desk {
  // Which act on an alert the dialog is open for.
  readonly asked = signal<Asked | undefined>(undefined);
  // Groups of alerts that somebody folded.
  readonly folded = signal<ReadonlySet<string>>(new Set());
  readonly withExpired = signal(false);
  readonly rules: List<AlertRuleJson>;
  readonly silences: List<SilenceJson>;
  readonly channels: List<ChannelJson>;
  readonly escalations: List<EscalationJson>;
  readonly heartbeats: List<ExpectedHeartbeatJson>;
  readonly dead: List<DeliveryJson>;
  readonly series: SeriesStore;

  constructor(readonly stores: Stores) {
    const { ask } = stores;
    this.rules = new List(async (_token, signal) => {
      const { rules = [] } = await ask("RuleService/ListRules", {}, signal);
      stores.alerts.rules.value = rules;
      return { items: rules };
    }, OFTEN_MS);
    this.silences = new List(async (token, signal) => {
      const input = { includeExpired: this.withExpired.peek(), pageSize: 100, pageToken: token };
      const answer = await ask("SilenceService/ListSilences", input, signal);
      return { items: answer.silences, next: answer.nextPageToken };
    }, OFTEN_MS);
    this.channels = new List(
      async (_token, signal) => ({ items: (await ask("ChannelService/ListChannels", {}, signal)).channels }),
      OFTEN_MS,
    );
    this.escalations = new List(
      async (_token, signal) => ({ items: (await ask("EscalationService/ListEscalations", {}, signal)).escalations }),
      OFTEN_MS,
    );
    this.heartbeats = new List(
      async (_token, signal) => ({ items: (await ask("HeartbeatService/ListHeartbeats", {}, signal)).heartbeats }),
      OFTEN_MS,
    );
    this.dead = new List(async (token, signal) => {
      const answer = await ask("DeliveryService/ListDeliveries", { filter: "state = DEAD", pageSize: 50, pageToken: token }, signal);
      return { items: answer.deliveries, next: answer.nextPageToken };
    }, OFTEN_MS);
    this.series = new SeriesStore(stores.call, stores.clock);
  }

  // Those that go together are folded together, by the id of their rule.
  fold(ruleId: string): void {
    const folded = new Set(this.folded.peek());
    if (!folded.delete(ruleId)) {
      folded.add(ruleId);
    }
    this.folded.value = folded;
  }

  channelName(id: string): string {
    return this.channels.view.value.items.find((each) => each.id === id)?.name ?? id;
  }
}

export const DeskContext = createContext<Desk | undefined>(undefined);

export function useDesk(): Desk {
  const desk = useContext(DeskContext);
  if (desk === undefined) {
    throw new Error("rendered outside of DeskContext");
  }
  return desk;
}
