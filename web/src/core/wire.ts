// What the bridge sends, as types: proto JSON in which what has no presence is always there, so that what is absent is not known.
// The generated types of JSON have everything optional and those of messages know what is not, so the two are laid over each other.
// Enums are their names, 64-bit numbers are text, times are RFC 3339 and durations "1.5s" (`core/time.ts` reads both). Nothing here runs.
import type { DescMessage, MessageJsonType, MessageShape } from "@bufbuild/protobuf";
import type * as Agents from "../gen/pilothouse/v1/agents_pb";
import type * as Alerts from "../gen/pilothouse/v1/alerts_pb";
import type * as Audit from "../gen/pilothouse/v1/audit_pb";
import type * as Batches from "../gen/pilothouse/v1/batches_pb";
import type * as Budgets from "../gen/pilothouse/v1/budgets_pb";
import type * as Commands from "../gen/pilothouse/v1/commands_pb";
import type * as Stops from "../gen/pilothouse/v1/emergency_stops_pb";
import type * as Config from "../gen/pilothouse/v1/config_pb";
import type * as Queues from "../gen/pilothouse/v1/queues_pb";
import type * as Platform from "../gen/pilothouse/v1/platform_pb";
import type * as Events from "../gen/pilothouse/v1/events_pb";
import type * as Live from "../gen/pilothouse/v1/live_pb";
import type * as Metrics from "../gen/pilothouse/v1/metrics_pb";
import type * as Workflows from "../gen/pilothouse/v1/workflows_pb";

export type Sent<D extends DescMessage> = Wire<MessageShape<D>, MessageJsonType<D>>;

// `M` is the generated message and `J` its JSON. Members of a oneof are not fields of the message, so they stay optional.
type Wire<M, J> = {
  readonly [K in keyof J as K extends AlwaysThere<M> ? K : never]-?: Field<K extends keyof M ? M[K] : never, NonNullable<J[K]>>;
} & {
  readonly [K in keyof J as K extends AlwaysThere<M> ? never : K]?: Field<K extends keyof M ? NonNullable<M[K]> : never, NonNullable<J[K]>>;
};

type AlwaysThere<M> = { [K in keyof M]-?: undefined extends M[K] ? never : K }[keyof M];

type Field<M, J> = J extends readonly (infer Item)[]
  ? readonly Field<M extends readonly (infer MessageItem)[] ? MessageItem : never, Item>[]
  : [M] extends [never]
    ? J
    : M extends { readonly $typeName: string }
      ? J extends object
        ? Wire<M, J>
        : J
      : J;

export type Agent = Sent<typeof Agents.AgentSchema>;
export type Alert = Sent<typeof Alerts.AlertSchema>;
export type AlertTransition = Sent<typeof Alerts.AlertTransitionSchema>;
export type AuditEntry = Sent<typeof Audit.AuditEntrySchema>;
export type Batch = Sent<typeof Batches.BatchSchema>;
export type BatchItem = Sent<typeof Batches.BatchItemSchema>;
export type Budget = Sent<typeof Budgets.BudgetSchema>;
export type BudgetUse = Sent<typeof Budgets.BudgetUseSchema>;
export type Evidence = Sent<typeof Alerts.EvidenceSchema>;
export type AgentTask = Sent<typeof Agents.AgentTaskSchema>;
export type GetAgentResponse = Sent<typeof Agents.GetAgentResponseSchema>;
export type ConfigVersion = Sent<typeof Config.ConfigVersionSchema>;
export type EmergencyScope = Sent<typeof Stops.EmergencyScopeSchema>;
export type EmergencyStop = Sent<typeof Stops.EmergencyStopSchema>;
export type EmergencyTarget = Sent<typeof Stops.EmergencyTargetSchema>;
export type EmergencyPreview = Sent<typeof Stops.PreviewEmergencyStopResponseSchema>;
export type Executor = Sent<typeof Commands.ExecutorSchema>;
export type Queue = Sent<typeof Queues.QueueSchema>;
export type ServerStatus = Sent<typeof Platform.ServerStatusSchema>;
export type Command = Sent<typeof Commands.CommandSchema>;
export type Event = Sent<typeof Events.EventSchema>;
export type CountEventsResponse = Sent<typeof Events.CountEventsResponseSchema>;
export type EventBatch = Sent<typeof Events.EventBatchSchema>;
export type LiveSnapshot = Partial<Sent<typeof Live.LiveSnapshotSchema>>;
export type LiveGap = Sent<typeof Live.LiveGapSchema>;
export type LiveProgress = Sent<typeof Live.LiveProgressSchema>;
export type LiveError = Sent<typeof Live.LiveErrorSchema>;
export type LiveDraining = Sent<typeof Live.LiveDrainingSchema>;
export type MetricPoint = Sent<typeof Metrics.MetricPointSchema>;
export type MetricsSnapshot = Sent<typeof Metrics.MetricsSnapshotSchema>;
export type WindowMetrics = Sent<typeof Metrics.WindowMetricsSchema>;
export type Stage = Sent<typeof Workflows.StageSchema>;
export type Task = Sent<typeof Workflows.TaskSchema>;
export type Waiting = Sent<typeof Workflows.WaitingSchema>;
export type Workflow = Sent<typeof Workflows.WorkflowSchema>;
export type GetAlertResponse = Sent<typeof Alerts.GetAlertResponseSchema>;
export type GetWorkflowResponse = Sent<typeof Workflows.GetWorkflowResponseSchema>;
export type QueryMetricsResponse = Sent<typeof Metrics.QueryMetricsResponseSchema>;

export type { AlertActJson as AlertAct, AlertKindJson as AlertKind, AlertStateJson as AlertState } from "../gen/pilothouse/v1/alerts_pb";
export type {
  EmergencyStageJson as EmergencyStage,
  EmergencyTargetKindJson as EmergencyTargetKind,
  EmergencyTargetStateJson as EmergencyTargetState,
} from "../gen/pilothouse/v1/emergency_stops_pb";
export type { AuditOutcomeJson as AuditOutcome } from "../gen/pilothouse/v1/audit_pb";
export type { BatchOutcomeJson as BatchOutcome, BatchStateJson as BatchState } from "../gen/pilothouse/v1/batches_pb";
export type { BudgetStateJson as BudgetState } from "../gen/pilothouse/v1/budgets_pb";
export type { CommandStateJson as CommandState } from "../gen/pilothouse/v1/commands_pb";
export type {
  AgentStateJson as AgentState,
  ControlActionJson as ControlAction,
  SeverityJson as Severity,
  WorkflowStateJson as WorkflowState,
  WorkStateJson as WorkState,
} from "../gen/pilothouse/v1/enums_pb";
export type { WaitCauseJson as WaitCause } from "../gen/pilothouse/v1/workflows_pb";
export type { EventTypeJson as EventType } from "../gen/pilothouse/v1/events_pb";
export type { HealthStateJson as HealthState, MetricDimensionJson as MetricDimension } from "../gen/pilothouse/v1/metrics_pb";
