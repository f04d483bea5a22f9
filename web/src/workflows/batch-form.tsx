// One action on many: what, to which, why and how fast. Nothing is asked of them here: the server fixes the set, and shows what it would meet.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { withState } from "../core/filter";
import { plural } from "../core/format";
import { OFFERED, actionWords } from "../core/words";
import { requestId } from "../stores/control";
import { useStores } from "../ui/context";
import { CliLine } from "../ui/dialog";
import { Amount, Field, ReasonField, Submit } from "../ui/form";
import { useTask } from "../ui/lists";
import { Picture } from "../ui/mark";
import { Note } from "../ui/panel";
import { Side } from "../ui/side";
import type { ControlAction } from "../core/wire";
import { matching } from "./picking";
import { useSelection } from "./selection";
import { batchLine, effectOn } from "./words";

// What the contract takes by id; more than that is a filter.
const MOST_IDS = 1_000;

export function BatchForm(): JSX.Element {
  const { route, call, listing } = useStores();
  const selection = useSelection();
  const action = useSignal<ControlAction>("CONTROL_ACTION_PAUSE");
  const reason = useSignal("");
  const rate = useSignal<number | undefined>(undefined);
  const task = useTask();
  const ids = [...selection.ids.value];
  const filter = ids.length > 0 ? "" : withState(route.filter.value, route.state.value);
  const words = actionWords(action.value);
  const why = reason.value.trim();
  const obstacle =
    ids.length === 0 && filter === ""
      ? "Choose workflows or a filter first"
      : ids.length > MOST_IDS
        ? `At most ${MOST_IDS} at once; use a filter`
        : "";
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const which = ids.length > 0 ? { workflowIds: ids } : { filter };
    const input = { action: action.value, ...which, reason: why, rate: rate.value ?? 0, requestId: requestId() };
    await task.run(async () => {
      const { message } = await call("BatchService/CreateBatch", input);
      route.refine({ tab: "batches", open: message.batch?.id ?? "" });
      selection.set([]);
    });
  };
  const line = batchLine("create", "", [
    ["action", words?.verb ?? ""],
    ...ids.map((id) => ["workflow-id", id] as const),
    ["filter", filter],
    ["reason", why],
    ["rate", rate.value === undefined ? "" : String(rate.value)],
  ]);
  return (
    <Side title="Act on many" label="Act on many workflows" testId="batch-form">
      <form class="stack" onSubmit={(event) => void submit(event)}>
        <p data-testid="batch-which">
          {ids.length > 0 ? (
            <b>{plural(ids.length, "chosen workflow")}</b>
          ) : filter === "" ? (
            <Note tone="warning">Nothing is chosen. Choose rows, or write a filter, then come back.</Note>
          ) : (
            <>
              <b>All {matching(listing.view.value, route.filter.value, route.state.value)}that match</b> <code>{filter}</code>
            </>
          )}
        </p>
        <div role="group" aria-label="What to do" class="tools">
          {OFFERED.map((each) => {
            const offered = actionWords(each);
            return offered === undefined ? null : (
              <button
                key={each}
                type="button"
                class={`chip ${offered.verb === "cancel" ? "danger" : ""}`}
                aria-pressed={action.value === each}
                onClick={() => (action.value = each)}
                data-testid={`batch-${offered.verb}`}
              >
                <Picture icon={offered.verb} /> {offered.label}
              </button>
            );
          })}
        </div>
        <p class="weak">{effectOn(action.value)}</p>
        <ReasonField value={reason} testId="batch-reason" />
        <Field label="At most" hint="empty: as configured" at="rate">
          <Amount value={rate.value} set={(value) => (rate.value = value)} unit="commands a second" testId="batch-rate" />
        </Field>
        <CliLine line={line} testId="batch-cli" />
        <p class="weak small">Nothing happens yet: the set is fixed now, and shown with what will be refused.</p>
        <div class="tools">
          <Submit task={task} obstacle={obstacle} testId="batch-preview">
            Look at what it would do
          </Submit>
        </div>
      </form>
    </Side>
  );
}
