// The tree of a rule's condition, as it is edited: comparisons, and groups of which all or any have to hold.
import type { JSX } from "preact";
import type { ConditionJson, ThresholdJson } from "../gen/pilothouse/v1/rules_pb";
import { Picture } from "../ui/mark";
import { Amount, Choice, Field } from "../ui/form";
import { Matchers } from "./matchers";
import { COMPARISONS, DIMENSIONS, METRICS, WINDOWS, dimensionOf, metricOf } from "./words";
import { exact } from "../core/spans";

interface NodeProps {
  readonly node: ConditionJson;
  readonly set: (node: ConditionJson) => void;
  readonly remove?: (() => void) | undefined;
  readonly at: string;
  readonly depth?: number;
}

const DEEPEST = 4;

export function freshThreshold(): ThresholdJson {
  return {
    metric: "ALERT_METRIC_ERROR_RATE",
    dimension: "METRIC_DIMENSION_FLEET",
    window: "300s",
    comparison: "COMPARISON_GREATER_THAN",
    threshold: 0.05,
    minSamples: "20",
  };
}

export function ConditionNode({ node, set, remove, at, depth = 0 }: NodeProps): JSX.Element {
  const kind = node.all !== undefined ? "all" : node.any !== undefined ? "any" : "one";
  const inner = node.all?.conditions ?? node.any?.conditions ?? [];
  const become = (next: string): void => {
    const conditions = kind === "one" ? [node] : inner;
    if (next === "one") {
      set(inner[0] ?? { threshold: freshThreshold() });
    } else {
      set(next === "all" ? { all: { conditions } } : { any: { conditions } });
    }
  };
  const put = (conditions: ConditionJson[]): void => set(kind === "all" ? { all: { conditions } } : { any: { conditions } });
  return (
    <div class={`condition is-${kind}`} data-testid="condition" data-kind={kind}>
      <div class="condition-head">
        <Choice
          value={kind}
          set={become}
          of={
            [
              ["one", "This holds"],
              ["all", "All of these hold"],
              ["any", "Any of these holds"],
            ].slice(0, depth >= DEEPEST ? 1 : 3) as [string, string][]
          }
          label="How conditions are joined"
          testId="condition-kind"
        />
        {remove === undefined ? null : (
          <button type="button" class="button icon" onClick={remove} aria-label="Remove this condition" title="Remove">
            <Picture icon="close" />
          </button>
        )}
      </div>
      {kind === "one" ? (
        <ThresholdFields threshold={node.threshold ?? {}} set={(threshold) => set({ threshold })} at={`${at}.threshold`} />
      ) : (
        <div class="conditions">
          {inner.map((each, index) => (
            <ConditionNode
              key={index}
              node={each}
              set={(changed) => put(inner.map((one, place) => (place === index ? changed : one)))}
              remove={inner.length > 1 ? () => put(inner.filter((_one, place) => place !== index)) : undefined}
              at={`${at}.${kind}.conditions[${index}]`}
              depth={depth + 1}
            />
          ))}
          <button
            type="button"
            class="link small"
            onClick={() => put([...inner, { threshold: freshThreshold() }])}
            data-testid="condition-add"
          >
            + condition
          </button>
        </div>
      )}
    </div>
  );
}

interface ThresholdProps {
  readonly threshold: ThresholdJson;
  readonly set: (threshold: ThresholdJson) => void;
  readonly at: string;
}

// Without the fields that are absent in JSON, rather than with empty ones.
function without<K extends keyof ThresholdJson>(threshold: ThresholdJson, ...keys: K[]): ThresholdJson {
  return Object.fromEntries(Object.entries(threshold).filter(([key]) => !keys.includes(key as K))) as ThresholdJson;
}

function withMetric(threshold: ThresholdJson, metric: string): ThresholdJson {
  const words = metricOf(metric as ThresholdJson["metric"] & string);
  const kept = without(threshold, "recoveryThreshold", "window", "minSamples", "dimension", "matchers");
  const fleet = words.metric !== "ALERT_METRIC_AGENT_SILENCE";
  return {
    ...kept,
    ...{ metric: words.metric, comparison: words.comparison, threshold: words.threshold },
    ...{
      dimension: fleet
        ? words.windowed
          ? (threshold.dimension ?? "METRIC_DIMENSION_FLEET")
          : "METRIC_DIMENSION_FLEET"
        : "METRIC_DIMENSION_AGENT",
    },
    ...(words.windowed ? { window: threshold.window ?? "300s" } : {}),
  };
}

const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  ALERT_METRIC_QUEUE_DEPTH: ["METRIC_DIMENSION_FLEET", "METRIC_DIMENSION_WORKFLOW_TYPE"],
  ALERT_METRIC_AGENT_SILENCE: ["METRIC_DIMENSION_AGENT"],
};

function ThresholdFields({ threshold, set, at }: ThresholdProps): JSX.Element {
  const words = metricOf(threshold.metric);
  const dimension = dimensionOf(threshold);
  const label = DIMENSIONS.find(([each]) => each === dimension)?.[2] ?? "";
  const allowed = ALLOWED[words.metric];
  const toUnit = (value: ThresholdJson["threshold"]): number | undefined =>
    value === undefined ? undefined : exact(Number(value) * words.factor);
  const fromUnit = (value: number): number => exact(value / words.factor);
  const unit = words.unit === "per second" ? "/s" : words.unit;
  return (
    <div class="threshold">
      <Field label="What" at={`${at}.metric`}>
        <Choice
          value={words.metric}
          set={(metric) => set(withMetric(threshold, metric))}
          of={METRICS.map((each) => [each.metric, each.label] as const)}
          testId="threshold-metric"
        />
      </Field>
      <Field label="Of" at={`${at}.dimension`}>
        <Choice
          value={dimension}
          set={(each) => set({ ...without(threshold, "matchers"), dimension: each })}
          of={DIMENSIONS.filter(([each]) => allowed === undefined || allowed.includes(each))}
          testId="threshold-dimension"
        />
      </Field>
      {words.windowed ? (
        <Field label="Over the last" at={`${at}.window`}>
          <Choice
            value={threshold.window ?? "300s"}
            set={(window) => set({ ...threshold, window })}
            of={WINDOWS}
            testId="threshold-window"
          />
        </Field>
      ) : null}
      <Field label="Is" at={`${at}.comparison`} class="narrow">
        <Choice
          value={threshold.comparison ?? "COMPARISON_GREATER_THAN"}
          set={(comparison) => set({ ...threshold, comparison })}
          of={COMPARISONS}
          testId="threshold-comparison"
        />
      </Field>
      <Field label="Threshold" at={`${at}.threshold`}>
        <Amount
          value={toUnit(threshold.threshold)}
          set={(value) => set(value === undefined ? without(threshold, "threshold") : { ...threshold, threshold: fromUnit(value) })}
          unit={unit}
          testId="threshold-value"
        />
      </Field>
      <Field label="Recovers at" hint="else the threshold" at={`${at}.recovery_threshold`}>
        <Amount
          value={toUnit(threshold.recoveryThreshold)}
          set={(value) =>
            set(value === undefined ? without(threshold, "recoveryThreshold") : { ...threshold, recoveryThreshold: fromUnit(value) })
          }
          unit={unit}
          testId="threshold-recovery"
        />
      </Field>
      {words.windowed && words.unit !== "per second" ? (
        <Field label="Of at least" at={`${at}.min_samples`}>
          <Amount
            value={threshold.minSamples === undefined ? undefined : Number(threshold.minSamples)}
            set={(value) =>
              set(value === undefined ? without(threshold, "minSamples") : { ...threshold, minSamples: String(Math.round(value)) })
            }
            unit="ended"
            testId="threshold-samples"
          />
        </Field>
      ) : null}
      {label === "" ? null : (
        <Field label="Only where" hint={`${label} matches`} at={`${at}.matchers`} class="whole" deep group>
          <Matchers items={threshold.matchers} set={(matchers) => set({ ...threshold, matchers })} />
        </Field>
      )}
    </div>
  );
}
