// Unary calls in JSON, for what only its own page needs: the types are generated and cost nothing, where descriptors would be half of that page.
// A method is named as in the contract; the gateway speaks canonical proto JSON at the same path.
import type * as Channels from "../gen/pilothouse/v1/channels_pb";
import type * as Deliveries from "../gen/pilothouse/v1/deliveries_pb";
import type * as Escalations from "../gen/pilothouse/v1/escalations_pb";
import type * as Heartbeats from "../gen/pilothouse/v1/heartbeats_pb";
import type * as Rules from "../gen/pilothouse/v1/rules_pb";
import type * as Silences from "../gen/pilothouse/v1/silences_pb";
import { post, unlessCut } from "./call";

export interface Methods {
  "RuleService/ListRules": [Rules.ListRulesRequestJson, Rules.ListRulesResponseJson];
  "RuleService/GetRule": [Rules.GetRuleRequestJson, Rules.GetRuleResponseJson];
  "RuleService/CreateRule": [Rules.CreateRuleRequestJson, Rules.CreateRuleResponseJson];
  "RuleService/UpdateRule": [Rules.UpdateRuleRequestJson, Rules.UpdateRuleResponseJson];
  "RuleService/DeleteRule": [Rules.DeleteRuleRequestJson, Rules.DeleteRuleResponseJson];
  "RuleService/EnableRule": [Rules.EnableRuleRequestJson, Rules.EnableRuleResponseJson];
  "RuleService/DisableRule": [Rules.DisableRuleRequestJson, Rules.DisableRuleResponseJson];
  "RuleService/ListRuleVersions": [Rules.ListRuleVersionsRequestJson, Rules.ListRuleVersionsResponseJson];
  "RuleService/RestoreRule": [Rules.RestoreRuleRequestJson, Rules.RestoreRuleResponseJson];
  "RuleService/ImportRules": [Rules.ImportRulesRequestJson, Rules.ImportRulesResponseJson];
  "RuleService/ExportRules": [Rules.ExportRulesRequestJson, Rules.ExportRulesResponseJson];
  "SilenceService/ListSilences": [Silences.ListSilencesRequestJson, Silences.ListSilencesResponseJson];
  "SilenceService/CreateSilence": [Silences.CreateSilenceRequestJson, Silences.CreateSilenceResponseJson];
  "SilenceService/ExpireSilence": [Silences.ExpireSilenceRequestJson, Silences.ExpireSilenceResponseJson];
  "SilenceService/PreviewSilence": [Silences.PreviewSilenceRequestJson, Silences.PreviewSilenceResponseJson];
  "ChannelService/ListChannels": [Channels.ListChannelsRequestJson, Channels.ListChannelsResponseJson];
  "ChannelService/CreateChannel": [Channels.CreateChannelRequestJson, Channels.CreateChannelResponseJson];
  "ChannelService/UpdateChannel": [Channels.UpdateChannelRequestJson, Channels.UpdateChannelResponseJson];
  "ChannelService/DeleteChannel": [Channels.DeleteChannelRequestJson, Channels.DeleteChannelResponseJson];
  "ChannelService/TestChannel": [Channels.TestChannelRequestJson, Channels.TestChannelResponseJson];
  "EscalationService/ListEscalations": [Escalations.ListEscalationsRequestJson, Escalations.ListEscalationsResponseJson];
  "EscalationService/CreateEscalation": [Escalations.CreateEscalationRequestJson, Escalations.CreateEscalationResponseJson];
  "EscalationService/UpdateEscalation": [Escalations.UpdateEscalationRequestJson, Escalations.UpdateEscalationResponseJson];
  "EscalationService/DeleteEscalation": [Escalations.DeleteEscalationRequestJson, Escalations.DeleteEscalationResponseJson];
  "HeartbeatService/ListHeartbeats": [Heartbeats.ListHeartbeatsRequestJson, Heartbeats.ListHeartbeatsResponseJson];
  "HeartbeatService/SetHeartbeat": [Heartbeats.SetHeartbeatRequestJson, Heartbeats.SetHeartbeatResponseJson];
  "HeartbeatService/DeleteHeartbeat": [Heartbeats.DeleteHeartbeatRequestJson, Heartbeats.DeleteHeartbeatResponseJson];
  "DeliveryService/ListDeliveries": [Deliveries.ListDeliveriesRequestJson, Deliveries.ListDeliveriesResponseJson];
  "DeliveryService/RetryDelivery": [Deliveries.RetryDeliveryRequestJson, Deliveries.RetryDeliveryResponseJson];
  "DeliveryService/DropDelivery": [Deliveries.DropDeliveryRequestJson, Deliveries.DropDeliveryResponseJson];
}

export type Ask = <M extends keyof Methods>(
  method: M,
  input: Methods[M][0],
  signal?: AbortSignal,
  timeoutMs?: number,
) => Promise<Methods[M][1]>;

export const JSON_TYPE = "application/json";

export function asker(base: string): Ask {
  return async <M extends keyof Methods>(method: M, input: Methods[M][0], signal?: AbortSignal, timeoutMs?: number) => {
    const response = await post(new URL(`pilothouse.v1.${method}`, base), JSON_TYPE, JSON.stringify(input), signal, timeoutMs);
    return unlessCut(() => response.json() as Promise<Methods[M][1]>, signal);
  };
}
