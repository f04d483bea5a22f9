// What stands of an alert, a delivery, a silence is called, by shape, tone and word; and the steps of a life in words.
import type { Look } from "../core/words";
import { severityLook } from "../core/words";
import type { DeliveryKindJson, DeliveryStateJson } from "../gen/pilothouse/v1/deliveries_pb";
import type { SilenceStateJson } from "../gen/pilothouse/v1/silences_pb";
import type { Alert, AlertAct, AlertTransition } from "../core/wire";

export function alertLook(alert: Pick<Alert, "state" | "severity">): Look {
  const { tone, shape } = severityLook(alert.severity);
  switch (alert.state) {
    case "ALERT_STATE_FIRING":
      return { word: "Firing", tone, shape };
    case "ALERT_STATE_RECOVERING":
      return { word: "Recovering", tone, shape: "arrow" };
    case "ALERT_STATE_PENDING":
      return { word: "Pending", tone: "unknown", shape: "ring" };
    default:
      return { word: "Resolved", tone: "good", shape: "check" };
  }
}

const ACTS: Readonly<Partial<Record<AlertAct, Look>>> = {
  ALERT_ACT_ACKNOWLEDGE: { word: "Acknowledged", tone: "notice", shape: "check" },
  ALERT_ACT_UNACKNOWLEDGE: { word: "No longer acknowledged", tone: "warning", shape: "ring" },
  ALERT_ACT_RESOLVE: { word: "Resolved by hand", tone: "good", shape: "check" },
  ALERT_ACT_ASSIGN: { word: "Assigned", tone: "notice", shape: "arrow" },
  ALERT_ACT_COMMENT: { word: "Comment", tone: "unknown", shape: "dash" },
  ALERT_ACT_RULE_CHANGE: { word: "Ended by a change of its rule", tone: "unknown", shape: "cross" },
  ALERT_ACT_SUPPRESSION: { word: "Kept quiet, or no longer", tone: "unknown", shape: "hold" },
};

export function stepLook(step: AlertTransition, severity: Alert["severity"]): Look {
  const act = ACTS[step.act];
  if (act !== undefined) {
    return act;
  }
  const look = alertLook({ state: step.toState, severity });
  switch (step.toState) {
    case "ALERT_STATE_PENDING":
      return { ...look, word: "Its condition began to hold" };
    case "ALERT_STATE_FIRING":
      return { ...look, word: step.fromState === "ALERT_STATE_RECOVERING" ? "Its condition held again" : "Fired" };
    case "ALERT_STATE_RECOVERING":
      return { ...look, word: "Its condition held no more" };
    default:
      return look;
  }
}

const QUIET: Look = { word: "Unknown", tone: "unknown", shape: "dash" };

const DELIVERIES: Readonly<Partial<Record<DeliveryStateJson, Look>>> = {
  DELIVERY_STATE_WAITING: { word: "Waiting", tone: "notice", shape: "ring" },
  DELIVERY_STATE_DELIVERED: { word: "Delivered", tone: "good", shape: "check" },
  DELIVERY_STATE_DEAD: { word: "Given up", tone: "critical", shape: "triangle" },
  DELIVERY_STATE_DROPPED: { word: "Dropped", tone: "unknown", shape: "cross" },
};

export const deliveryLook = (state: DeliveryStateJson | undefined): Look => DELIVERIES[state ?? "DELIVERY_STATE_UNSPECIFIED"] ?? QUIET;

const KINDS: Readonly<Partial<Record<DeliveryKindJson, string>>> = {
  DELIVERY_KIND_CHANGE: "change",
  DELIVERY_KIND_REPEAT: "repeat",
  DELIVERY_KIND_ESCALATION: "escalation",
  DELIVERY_KIND_FLAPPING: "flapping",
  DELIVERY_KIND_HEARTBEAT: "heartbeat",
};

export const kindWord = (kind: DeliveryKindJson | undefined): string => KINDS[kind ?? "DELIVERY_KIND_UNSPECIFIED"] ?? "notification";

const SILENCES: Readonly<Partial<Record<SilenceStateJson, Look>>> = {
  SILENCE_STATE_PENDING: { word: "Will hold", tone: "notice", shape: "ring" },
  SILENCE_STATE_ACTIVE: { word: "Holds", tone: "notice", shape: "hold" },
  SILENCE_STATE_EXPIRED: { word: "Over", tone: "unknown", shape: "dash" },
};

export const silenceLook = (state: SilenceStateJson | undefined): Look => SILENCES[state ?? "SILENCE_STATE_UNSPECIFIED"] ?? QUIET;
