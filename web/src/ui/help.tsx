import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

const KEYS: readonly (readonly [string, string])[] = [
  ["g m", "Monitoring"],
  ["g w", "Workflows"],
  ["g g", "Agents"],
  ["g a", "Alerts"],
  ["g e", "Events"],
  ["g t", "Traces"],
  ["g p", "Platform"],
  ["Ctrl-K", "Go anywhere by a few letters"],
  ["/", "Search what the page shows"],
  ["j k", "Next and previous row"],
  ["Enter", "Open it"],
  ["x", "Choose it; with Shift, all from the one before"],
  ["b", "Act on all that are chosen, or that match"],
  [".", "Go to its actions; arrows move between them"],
  ["Esc", "Close what is open"],
  ["?", "This list"],
];

export function Help({ close }: { readonly close: () => void }): JSX.Element {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => box.current?.showModal(), []);
  return (
    <dialog ref={box} onClose={close} aria-label="Keys" data-testid="help-dialog">
      <h2>Keys</h2>
      <dl class="keys">
        {KEYS.map(([key, words]) => (
          <>
            <dt key={key}>
              {key.split(" ").map((each) => (
                <kbd key={each}>{each}</kbd>
              ))}
            </dt>
            <dd>{words}</dd>
          </>
        ))}
      </dl>
      <p class="weak charts-hint">On a chart: drag to zoom, double click to come back.</p>
      <form method="dialog" class="acts acts-only">
        <button class="button">Close</button>
      </form>
    </dialog>
  );
}
