import type { JSX } from "preact";
import { count } from "../core/format";
import type { Page } from "../core/route";
import { useStores } from "./context";
import { Picture } from "./mark";

const PAGES: readonly { readonly page: Page; readonly word: string; readonly key: string }[] = [
  { page: "monitoring", word: "Monitoring", key: "g m" },
  { page: "workflows", word: "Workflows", key: "g w" },
  { page: "agents", word: "Agents", key: "g g" },
  { page: "alerts", word: "Alerts", key: "g a" },
  { page: "events", word: "Events", key: "g e" },
  { page: "traces", word: "Traces", key: "g t" },
  { page: "platform", word: "Platform", key: "g p" },
];

export function Rail({ help }: { readonly help: () => void }): JSX.Element {
  const { route } = useStores();
  return (
    <nav class="rail" aria-label="Pages">
      {PAGES.map(({ page, word, key }) => (
        <a
          key={page}
          href={route.href({ page, tab: "", open: "", state: "" })}
          aria-current={route.page.value === page ? "page" : undefined}
          title={`${word} (${key})`}
          data-testid={`nav-${page}`}
        >
          <Picture icon={page} />
          {word}
          <Tally page={page} />
        </a>
      ))}
      <button type="button" class="button foot" onClick={help} data-testid="help">
        <Picture icon="keys" /> Keys <kbd>?</kbd>
      </button>
    </nav>
  );
}

function Tally({ page }: { readonly page: Page }): JSX.Element | null {
  const { metrics, alerts } = useStores();
  if (page === "workflows") {
    const states = metrics.fleet.value?.states;
    const open = states && [states.queued, states.running, states.waiting, states.paused].reduce((sum, each) => sum + Number(each), 0);
    return open === undefined ? null : (
      <span class="tally" title="Workflows that have not ended">
        {count(open)}
      </span>
    );
  }
  if (page === "alerts") {
    const firing = alerts.firing.value.length;
    return firing === 0 ? null : <span class={alerts.criticalCount.value > 0 ? "tally loud" : "tally"}>{count(firing)}</span>;
  }
  return null;
}
