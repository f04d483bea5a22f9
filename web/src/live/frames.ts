// The frames of the WebSocket in JSON with the field names of JSON. A frame of a channel has a place in it; one about the connection has none.
import type {
  Agent,
  Alert,
  EmergencyStop,
  EventBatch,
  LiveDraining,
  LiveError,
  LiveGap,
  LiveProgress,
  LiveSnapshot,
  MetricsSnapshot,
  Workflow,
} from "../core/wire";

interface Carries<T extends string, D> {
  readonly type: T;
  readonly data: D;
  // The bridge's clock when the frame was made.
  readonly timestamp: string;
}

export interface Place {
  readonly epoch: string;
  readonly sequence: number;
}

export type SnapshotFrame = Carries<
  "workflows:snapshot" | "agents:snapshot" | "alerts:snapshot" | "events:snapshot" | "emergency:snapshot",
  LiveSnapshot
>;

export type ChannelFrame = Place & { readonly channel: string } & (
    | SnapshotFrame
    | Carries<"metrics:update", MetricsSnapshot>
    | Carries<"workflows:update", Workflow>
    | Carries<"agents:update", Agent>
    | Carries<"alerts:update", Alert>
    | Carries<"events:append", EventBatch>
    | Carries<"emergency:update", EmergencyStop>
    | Carries<"gap", LiveGap>
    | Carries<"progress", LiveProgress>
  );

export type ConnectionFrame =
  | Carries<"subscribed" | "unsubscribed", unknown>
  | Carries<"error", LiveError>
  | Carries<"draining", LiveDraining>
  | Carries<"pong", { readonly nonce: string }>;

export type Request =
  | {
      readonly type: "subscribe";
      readonly channels: readonly string[];
      readonly positions: Readonly<Record<string, Place>>;
      readonly names: "json";
    }
  | { readonly type: "unsubscribe"; readonly channels: readonly string[] }
  | { readonly type: "ping"; readonly nonce: number };

// Undefined when the text is no frame at all. What a known frame holds is the server's word.
export function frameOf(text: string): ChannelFrame | ConnectionFrame | undefined {
  try {
    const value = JSON.parse(text) as { readonly type?: unknown } | null;
    return typeof value?.type === "string" ? (value as ChannelFrame | ConnectionFrame) : undefined;
  } catch {
    return undefined;
  }
}

export const isOfChannel = (frame: ChannelFrame | ConnectionFrame): frame is ChannelFrame => "channel" in frame;
