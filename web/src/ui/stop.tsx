// While an emergency stop is in force, every page says so: how far, who, why, since when, and what has come of it.
import type { JSX } from "preact";
import { isActive, progressWords, scopeWords, stageWords } from "../core/stops";
import { timestampMs } from "../core/time";
import { useStores } from "./context";
import { Mark } from "./mark";
import { Since } from "./panel";

const MOST = 2;

export function EmergencyBanner(): JSX.Element {
  const { stops, route } = useStores();
  const active = stops.active.value;
  return (
    <div class="stop-bars" role="alert">
      {active.slice(0, MOST).map((stop) => (
        <a
          key={stop.id}
          class="stop-bar"
          href={route.href({ page: "platform", tab: "emergency", open: stop.id, filter: "" })}
          title={stop.reason}
          data-testid="emergency-banner"
          data-stop-id={stop.id}
          data-stage={stop.stage}
        >
          <Mark look={{ tone: "unknown", shape: "triangle" }} />
          <b>
            {isActive(stop) ? "Emergency stop" : "Emergency stop is being released"}: {stageWords(stop.stage).label.toLowerCase()}
          </b>
          <span class="cut grow">
            {scopeWords(stop.scope)} · by {stop.actor || "somebody"} · “{stop.reason}”
          </span>
          <span>
            for <Since at={timestampMs(stop.startTime)} ago={false} />
          </span>
          <span data-testid="emergency-progress">{progressWords(stop)}</span>
          <u>{active.length > MOST ? `all ${active.length} stops` : "look, release"}</u>
        </a>
      ))}
    </div>
  );
}
