// Choosing rows for an act on many: one by one, a range with Shift, all that are shown, or all that match.
import type { JSX } from "preact";
import { count, plural } from "../core/format";
import { withState } from "../core/filter";
import type { ListingView } from "../stores/listing";
import { useStores } from "../ui/context";
import { useSelection } from "./selection";

export function Pick({ id, name }: { readonly id: string; readonly name: string }): JSX.Element {
  const { listing } = useStores();
  const selection = useSelection();
  const click = (event: MouseEvent): void => {
    event.stopPropagation();
    selection.toggle(id, event.shiftKey, listing.view.peek().ids);
  };
  return (
    <input
      type="checkbox"
      class="pick"
      tabIndex={-1}
      checked={selection.ids.value.has(id)}
      onClick={click}
      aria-label={`Choose ${name}`}
      data-pick=""
      data-testid="pick"
    />
  );
}

export function PickAll(): JSX.Element {
  const { listing } = useStores();
  const selection = useSelection();
  const { ids } = listing.view.value;
  const chosen = ids.filter((id) => selection.ids.value.has(id)).length;
  return (
    <input
      type="checkbox"
      class="pick"
      checked={chosen > 0 && chosen === ids.length}
      indeterminate={chosen > 0 && chosen < ids.length}
      onClick={() => selection.set(chosen === ids.length ? [] : ids)}
      aria-label="Choose all that are shown"
      title="Choose all that are shown"
      data-testid="pick-all"
    />
  );
}

// How many match, as far as the server counted; it counts without regard to states that the filter itself names, and then this is not known.
export function matching(view: ListingView, filter: string, state: string): string {
  if (/\bstate\b/.test(filter)) {
    return "";
  }
  const total = [...view.counts].reduce(
    (sum, [each, many]) => sum + (state === "" || each === `WORKFLOW_STATE_${state.toUpperCase()}` ? many : 0),
    0,
  );
  return `${count(total)}${view.capped ? " or more" : ""} `;
}

export function Picked({ view }: { readonly view: ListingView }): JSX.Element | null {
  const { route } = useStores();
  const selection = useSelection();
  const { size } = selection.ids.value;
  const state = route.state.value;
  const filtered = withState(route.filter.value, state) !== "";
  if (size === 0 && (!filtered || view.phase !== "ready" || view.ids.length === 0)) {
    return null;
  }
  return (
    <div class="chips picked" role="status" data-testid="picked" data-count={size}>
      {size === 0 ? null : (
        <>
          <b>{plural(size, "workflow")} chosen</b>
          <button type="button" class="button primary" onClick={() => route.go({ open: ":batch" })} data-batch="" data-testid="batch-new">
            Act on {size === 1 ? "it" : `all ${count(size)}`}…
          </button>
          <button type="button" class="link" onClick={() => selection.set([])} data-testid="pick-none">
            Choose none
          </button>
        </>
      )}
      {filtered ? (
        <button
          type="button"
          class="link"
          onClick={() => {
            selection.set([]);
            route.go({ open: ":batch" });
          }}
          {...(size === 0 ? { "data-batch": "" } : {})}
          data-testid="batch-matching"
        >
          Act on all {matching(view, route.filter.value, state)}that match…
        </button>
      ) : null}
    </div>
  );
}
