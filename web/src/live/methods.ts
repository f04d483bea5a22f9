// Every unary method of the contract by its path, with what it takes and gives, read from the generated types of the services. Nothing here runs.
import type { DescMessage, MessageJsonType } from "@bufbuild/protobuf";
import type { Sent } from "../core/wire";
import type { AgentService } from "../gen/pilothouse/v1/agents_pb";
import type { AlertService } from "../gen/pilothouse/v1/alerts_pb";
import type { AuditService } from "../gen/pilothouse/v1/audit_pb";
import type { BatchService } from "../gen/pilothouse/v1/batches_pb";
import type { BudgetService } from "../gen/pilothouse/v1/budgets_pb";
import type { ChannelService } from "../gen/pilothouse/v1/channels_pb";
import type { CommandService } from "../gen/pilothouse/v1/commands_pb";
import type { ConfigService } from "../gen/pilothouse/v1/config_pb";
import type { DeadEventService } from "../gen/pilothouse/v1/dead_events_pb";
import type { DeliveryService } from "../gen/pilothouse/v1/deliveries_pb";
import type { EmergencyStopService } from "../gen/pilothouse/v1/emergency_stops_pb";
import type { EscalationService } from "../gen/pilothouse/v1/escalations_pb";
import type { EventService } from "../gen/pilothouse/v1/events_pb";
import type { HeartbeatService } from "../gen/pilothouse/v1/heartbeats_pb";
import type { MetricsService } from "../gen/pilothouse/v1/metrics_pb";
import type { PlatformService } from "../gen/pilothouse/v1/platform_pb";
import type { QueueService } from "../gen/pilothouse/v1/queues_pb";
import type { RuleService } from "../gen/pilothouse/v1/rules_pb";
import type { SilenceService } from "../gen/pilothouse/v1/silences_pb";
import type { TraceService } from "../gen/pilothouse/v1/traces_pb";
import type { WorkflowService } from "../gen/pilothouse/v1/workflows_pb";

interface Services {
  readonly AgentService: typeof AgentService;
  readonly AlertService: typeof AlertService;
  readonly AuditService: typeof AuditService;
  readonly BatchService: typeof BatchService;
  readonly BudgetService: typeof BudgetService;
  readonly ChannelService: typeof ChannelService;
  readonly CommandService: typeof CommandService;
  readonly ConfigService: typeof ConfigService;
  readonly DeadEventService: typeof DeadEventService;
  readonly DeliveryService: typeof DeliveryService;
  readonly EmergencyStopService: typeof EmergencyStopService;
  readonly EscalationService: typeof EscalationService;
  readonly EventService: typeof EventService;
  readonly HeartbeatService: typeof HeartbeatService;
  readonly MetricsService: typeof MetricsService;
  readonly PlatformService: typeof PlatformService;
  readonly QueueService: typeof QueueService;
  readonly RuleService: typeof RuleService;
  readonly SilenceService: typeof SilenceService;
  readonly TraceService: typeof TraceService;
  readonly WorkflowService: typeof WorkflowService;
}

type Unary = { readonly methodKind: "unary"; readonly input: DescMessage; readonly output: DescMessage };

type MethodsOf<S extends string, T> = {
  readonly [M in keyof T as T[M] extends Unary ? `${S}/${Capitalize<M & string>}` : never]: T[M];
};

type All = { [S in keyof Services]: (each: MethodsOf<S, Services[S]["method"]>) => void }[keyof Services];
type Methods = All extends (each: infer Every) => void ? Every : never;

// "WorkflowService/ListWorkflows" and its like.
export type Method = keyof Methods;
type Input<D> = D extends { readonly input: infer I extends DescMessage } ? I : never;
type Output<D> = D extends { readonly output: infer O extends DescMessage } ? O : never;

export type Asked<M extends Method> = MessageJsonType<Input<Methods[M]>>;
// With what holds its default left out, for documents that are edited and sent back.
export type Document<M extends Method> = MessageJsonType<Output<Methods[M]>>;
// With everything that has no presence of its own, for what is shown.
export type Shown<M extends Method> = Sent<Output<Methods[M]>>;
