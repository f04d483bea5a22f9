// A rule's threshold against what it is compared with: the threshold, the band in which nothing changes, and when something fired.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { timeOfDay } from "../core/format";
import type { Line, Span } from "../core/history";
import type { ThresholdJson } from "../gen/pilothouse/v1/rules_pb";
import type { FiringMark } from "../stores/alerts";
import { Chart } from "../ui/chart";
import { TIME_STEPS } from "../ui/charts";
import type { Token } from "../ui/colours";
import { useStores } from "../ui/context";
import type { FiringSpan } from "../ui/plot";
import { metricOf, thresholdWords, valueWords } from "./words";
import { exact } from "../core/spans";

export interface PlotLine {
  readonly label: string;
  readonly time: number[];
  readonly values: Line;
}

interface PlotProps {
  readonly threshold: ThresholdJson;
  readonly lines: readonly PlotLine[];
  readonly span: Span;
  readonly marks: readonly FiringMark[];
  readonly spans: readonly FiringSpan[];
}

const COLOURS: readonly Token[] = ["series-1", "series-2", "series-3"];
export const MOST_LINES = COLOURS.length;

export function RulePlot({ threshold, lines, span, marks, spans }: PlotProps): JSX.Element {
  const { theme } = useStores();
  const hover = useSignal<number | undefined>(undefined);
  const zoomed = useSignal<Span | undefined>(undefined);
  const { factor, unit } = metricOf(threshold.metric);
  const limit = exact(Number(threshold.threshold ?? 0) * factor);
  const recovery = threshold.recoveryThreshold === undefined ? undefined : exact(Number(threshold.recoveryThreshold) * factor);
  const format = (value: number): string => valueWords(threshold.metric, value / factor);
  const shown = lines.slice(0, MOST_LINES);
  const time = shown[0]?.time ?? [];
  const index = hover.value;
  const at = index === undefined ? undefined : time[index];
  const words = thresholdWords(threshold);
  return (
    <figure class="plotted" data-testid="rule-plot" data-points={time.length}>
      <figcaption class="legend">
        {at === undefined ? <span class="weak cut">{words}</span> : <span class="weak">{timeOfDay(at * 1000)}</span>}
        {shown.map((line, place) => {
          const value = index === undefined ? undefined : line.values[index];
          const text = value === null || value === undefined ? "no data" : valueWords(threshold.metric, value);
          return at === undefined && line.label === "" ? null : (
            <span key={line.label} class="key">
              <i class={`swatch ${COLOURS[place] ?? ""}`} />
              {line.label} {at === undefined ? "" : text}
            </span>
          );
        })}
      </figcaption>
      <div class="canvas">
        <Chart
          time={time}
          lines={shown.map((line, place) => ({
            label: line.label,
            colour: COLOURS[place] ?? "series-1",
            ...(shown.length === 1 ? { fill: "series-1-fill" as const } : {}),
            values: line.values.map((value) => (value === null ? null : value * factor)),
          }))}
          span={zoomed.value ?? span}
          format={format}
          top={Math.max(Math.abs(limit) * 1.25, unit === "%" ? 1 : 0.001)}
          {...(unit === "ms" ? { steps: TIME_STEPS } : {})}
          {...(unit === "%" ? { ceiling: 100 } : {})}
          {...(threshold.metric === "ALERT_METRIC_SUCCESS_RATE" ? { fromLowest: true } : {})}
          threshold={{ value: limit, words, always: true }}
          {...(recovery === undefined ? {} : { band: [limit, recovery] as const })}
          marks={marks}
          spans={spans}
          themeVersion={theme.version.value}
          at={hover}
          zoom={(each) => (zoomed.value = each)}
          reset={() => (zoomed.value = undefined)}
        />
      </div>
    </figure>
  );
}
