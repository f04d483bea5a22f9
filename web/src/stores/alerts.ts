// Alerts that are not over, the rules behind them, and past firings as marks for the time axis.
import { computed, signal } from "@preact/signals";
import { timestampMs } from "../core/time";
import { gravity, isGrave } from "../core/words";
import type { AlertRuleJson } from "../gen/pilothouse/v1/rules_pb";
import type { Alert, AlertState } from "../core/wire";

export interface FiringMark {
  readonly id: string;
  readonly at: number;
  readonly words: string;
  readonly critical: boolean;
  // An end, not a beginning.
  readonly over?: boolean;
}

const MOST_PAST = 500;

const STANDING: Readonly<Partial<Record<AlertState, number>>> = {
  ALERT_STATE_FIRING: 0,
  ALERT_STATE_RECOVERING: 1,
  ALERT_STATE_PENDING: 2,
};

// What a person should see first: what fires before what may, the graver before the lighter, the newer before the older.
export function byUrgency(a: Alert, b: Alert): number {
  const since = (alert: Alert): number => timestampMs(alert.fireTime) ?? timestampMs(alert.activeTime) ?? 0;
  const pending = Number(a.state === "ALERT_STATE_PENDING") - Number(b.state === "ALERT_STATE_PENDING");
  return (
    pending ||
    gravity(b.severity) - gravity(a.severity) ||
    (STANDING[a.state] ?? 3) - (STANDING[b.state] ?? 3) ||
    since(b) - since(a) ||
    (a.id < b.id ? -1 : 1)
  );
}

export function isFiring(alert: Alert): boolean {
  return alert.state === "ALERT_STATE_FIRING" || alert.state === "ALERT_STATE_RECOVERING";
}

export class AlertStore {
  readonly #byId = new Map<string, Alert>();
  readonly #past = signal<ReadonlyMap<string, Alert>>(new Map());
  readonly #version = signal(0);
  readonly arrived = signal(false);
  readonly rules = signal<readonly AlertRuleJson[] | undefined>(undefined);

  readonly active = computed((): readonly Alert[] => {
    void this.#version.value;
    return [...this.#byId.values()].sort(byUrgency);
  });
  readonly firing = computed(() => this.active.value.filter(isFiring));
  readonly criticalCount = computed(() => this.firing.value.filter((alert) => isGrave(alert.severity)).length);
  readonly warningCount = computed(() => this.firing.value.length - this.criticalCount.value);

  // Every firing that is known, newest first.
  readonly history = computed((): readonly Alert[] => {
    const all = new Map(this.#past.value);
    for (const alert of this.active.value) {
      all.set(alert.id, alert);
    }
    return [...all.values()].sort((a, b) => (timestampMs(b.activeTime) ?? 0) - (timestampMs(a.activeTime) ?? 0));
  });

  readonly marks = computed((): readonly FiringMark[] =>
    this.history.value.flatMap((alert) => {
      const at = timestampMs(alert.fireTime);
      const words = [alert.ruleName, alert.labels["agent_id"] ?? ""].filter((text) => text !== "").join(" · ");
      return at === undefined ? [] : [{ id: alert.id, at, words, critical: isGrave(alert.severity) }];
    }),
  );

  replace(alerts: readonly Alert[]): void {
    this.#byId.clear();
    for (const alert of alerts) {
      this.#put(alert);
    }
    this.arrived.value = true;
    this.#version.value++;
  }

  // From the live channel, which is in order.
  apply(alert: Alert): void {
    this.#put(alert);
    this.#version.value++;
  }

  // From an answer, which may be late: what came after the act may be known already.
  learn(alert: Alert): void {
    const known = this.#byId.get(alert.id) ?? this.#past.peek().get(alert.id);
    if (known === undefined || (timestampMs(alert.updateTime) ?? 0) > (timestampMs(known.updateTime) ?? 0)) {
      this.apply(alert);
    }
  }

  learnPast(alerts: readonly Alert[]): void {
    const past = new Map(this.#past.peek());
    for (const alert of alerts) {
      past.set(alert.id, alert);
    }
    this.#past.value = new Map([...past].slice(-MOST_PAST));
  }

  #put(alert: Alert): void {
    if (alert.state === "ALERT_STATE_RESOLVED") {
      this.#byId.delete(alert.id);
      this.learnPast([alert]);
    } else {
      this.#byId.set(alert.id, alert);
    }
  }
}
