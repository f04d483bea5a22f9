// Everything by a few letters: pages, ranges, what fires, workflows and agents. Ctrl-K opens it, arrows choose, Enter goes.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { type Page, RANGES, type Route } from "../core/route";
import { sentence } from "../core/format";
import { type Look, agentLook, severityLook, workflowLook } from "../core/words";
import type { Stores } from "../stores/app";
import { useStores } from "./context";
import { Dialog } from "./dialog";
import { Mark } from "./mark";

interface Entry {
  readonly words: string;
  readonly about: string;
  readonly look?: Look;
  readonly run: () => void;
}

const MOST = 12;
const PLACES: readonly (readonly [page: Page, tab: Route["tab"], words: string])[] = [
  ["monitoring", "", "Monitoring"],
  ["workflows", "", "Workflows"],
  ["workflows", "batches", "Acts on many workflows"],
  ["agents", "", "Agents"],
  ["agents", "queues", "Queues"],
  ["alerts", "", "Alerts"],
  ["alerts", "history", "Past alerts"],
  ["alerts", "rules", "Alert rules"],
  ["alerts", "silences", "Silences"],
  ["alerts", "channels", "Channels"],
  ["events", "", "Events"],
  ["traces", "", "Traces"],
  ["traces", "types", "Traces by type"],
  ["platform", "", "Configuration"],
  ["platform", "emergency", "Emergency stop"],
  ["platform", "budgets", "Budgets"],
  ["platform", "connectors", "Connectors"],
  ["platform", "audit", "Audit"],
  ["platform", "server", "This server"],
];

function entries({ route, theme, workflows, agents, alerts }: Stores, typed: string): Entry[] {
  const go = (change: Partial<Route>) => (): void => route.go({ tab: "", open: "", state: "", ...change });
  const words = typed.toLowerCase().split(/\s+/);
  const all: Entry[] = [
    ...PLACES.map(([page, tab, name]) => ({ words: name, about: sentence(page), run: go({ page, tab }) })),
    ...RANGES.map(({ ms, words: name }) => ({ words: name, about: "Time range", run: () => route.go({ range: { kind: "last", ms } }) })),
    { words: "Change the theme", about: "Dark, light, as the system", run: () => theme.next() },
    ...alerts.firing.value.map((alert) => ({
      words: alert.ruleName,
      about: alert.id,
      look: severityLook(alert.severity),
      run: go({ page: "alerts", open: alert.id }),
    })),
    ...workflows.all.value.map(({ id, workflowName, state }) => ({
      words: workflowName || id,
      about: id,
      look: workflowLook(state),
      run: go({ page: "workflows", open: id }),
    })),
    ...agents.groups.value.flatMap((group) =>
      group.agents.map(({ id, agentType, state }) => ({
        words: id,
        about: agentType,
        look: agentLook(state),
        run: go({ page: "agents", open: id }),
      })),
    ),
  ];
  const found = all.filter((each) => words.every((word) => `${each.words} ${each.about}`.toLowerCase().includes(word))).slice(0, MOST);
  const asked = typed.trim();
  const search = (page: Page): Entry => ({ words: `Search ${page} for “${asked}”`, about: "", run: go({ page, filter: asked }) });
  return asked === "" ? found : [...found, search("workflows"), search("events"), search("traces")];
}

export function Palette({ close }: { readonly close: () => void }): JSX.Element {
  const stores = useStores();
  const typed = useSignal("");
  const at = useSignal(0);
  const found = entries(stores, typed.value);
  const chosen = Math.min(at.value, found.length - 1);
  const run = (entry: Entry | undefined): void => {
    close();
    entry?.run();
  };
  const pressed = (event: KeyboardEvent): void => {
    const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (by !== 0) {
      event.preventDefault();
      at.value = (chosen + by + found.length) % found.length;
    }
  };
  useEffect(() => document.querySelector(".palette [aria-selected=true]")?.scrollIntoView({ block: "nearest" }), [chosen]);
  return (
    <Dialog title="Go to" class="palette" testId="palette" close={close} submit={() => run(found[chosen])}>
      <input
        class="field"
        role="combobox"
        aria-label="Where to"
        aria-expanded="true"
        aria-controls="palette-found"
        aria-activedescendant={`palette-${chosen}`}
        autocomplete="off"
        spellcheck={false}
        value={typed.value}
        onInput={(event) => {
          typed.value = event.currentTarget.value;
          at.value = 0;
        }}
        onKeyDown={pressed}
        data-first=""
        data-testid="palette-input"
      />
      <ul id="palette-found" role="listbox" aria-label="What there is">
        {found.map((entry, index) => (
          <li
            key={`${entry.words} ${entry.about}`}
            id={`palette-${index}`}
            role="option"
            aria-selected={index === chosen}
            onClick={() => run(entry)}
            data-testid="palette-entry"
          >
            {entry.look === undefined ? null : <Mark look={entry.look} />} <span class="cut">{entry.words}</span>{" "}
            <span class="faint small cut">{entry.about}</span>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}
