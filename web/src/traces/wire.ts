// Traces and what they tell, as the bridge sends them. Nothing here runs.
import type { Sent } from "../core/wire";
import type * as Analysis from "../gen/pilothouse/v1/trace_analysis_pb";
import type * as Traces from "../gen/pilothouse/v1/traces_pb";

export type Span = Sent<typeof Traces.SpanSchema>;
export type SpanWait = Span["waits"][number];
export type Trace = Sent<typeof Traces.TraceSchema>;
// Members of a oneof are not fields of their message, so what they hold is said here.
export type TraceUpdate = Omit<Sent<typeof Traces.WatchTraceResponseSchema>, "change"> & {
  readonly change?: Sent<typeof Traces.TraceChangeSchema>;
};
export type TraceAnalysis = Sent<typeof Analysis.AnalyzeTraceResponseSchema>;
export type TraceAggregate = Sent<typeof Analysis.TraceAggregateSchema>;
export type StageCriticality = Sent<typeof Analysis.StageCriticalitySchema>;
export type Comparison = Sent<typeof Analysis.CompareTracesResponseSchema>;
export type ComparedRow = Sent<typeof Analysis.ComparedRowSchema>;
export type TimeShare = Sent<typeof Analysis.TimeShareSchema>;
export type { TimeKindJson as TimeKind } from "../gen/pilothouse/v1/trace_analysis_pb";
export type { TraceFormatJson as TraceFormat } from "../gen/pilothouse/v1/traces_pb";
