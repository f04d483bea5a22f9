// Acts on many, newest first, each with how far it is.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { exactTime, when } from "../core/format";
import { timestampMs } from "../core/time";
import { useStores } from "../ui/context";
import { List, useShown } from "../ui/lists";
import { Mark } from "../ui/mark";
import { memo } from "../ui/memo";
import { Note, Panel } from "../ui/panel";
import type { Batch } from "../core/wire";
import { Progress, batchTitle } from "./batch";
import { batchLook } from "./words";

const AGAIN_MS = 3_000;

export function Batches(): JSX.Element {
  const { call } = useStores();
  const list = useMemo(
    () =>
      new List<Batch>(async (pageToken, signal) => {
        const { message } = await call("BatchService/ListBatches", { pageSize: 50, pageToken }, signal);
        return { items: message.batches, next: message.nextPageToken };
      }, AGAIN_MS),
    [],
  );
  useShown(list);
  const { phase, items, more, problem, code } = list.view.value;
  return (
    <Panel title="Acts on many" class="tall" testId="batches" aside={<span>newest first</span>}>
      {phase !== "error" ? null : code === "UNIMPLEMENTED" ? (
        <Note tone="warning">This server cannot act on many at once.</Note>
      ) : (
        <Note tone="critical">They could not be read: {problem}. They are asked for again.</Note>
      )}
      <div class="body">
        {items.length > 0 ? (
          <table class="table full">
            <thead>
              <tr>
                <th class="col-state">State</th>
                <th class="col-name">What</th>
                <th class="col-stages">Outcomes</th>
                <th class="col-who">Who</th>
                <th class="col-start number">Made</th>
              </tr>
            </thead>
            <tbody>
              {items.map((batch) => (
                <Row key={batch.id} batch={batch} />
              ))}
            </tbody>
          </table>
        ) : phase === "ready" ? (
          <Note>
            None yet. Choose workflows with <kbd>x</kbd>, or filter them, and act on all at once.
          </Note>
        ) : phase === "loading" ? (
          <Note>Reading the batches…</Note>
        ) : null}
        {more ? (
          <p class="more">
            <button type="button" class="button" onClick={() => list.older()}>
              Older
            </button>
          </p>
        ) : null}
      </div>
    </Panel>
  );
}

const Row = memo(({ batch }: { readonly batch: Batch }): JSX.Element => {
  const { route, clock } = useStores();
  const look = batchLook(batch.state);
  const made = timestampMs(batch.createTime);
  return (
    <tr
      data-row=""
      data-opens={batch.id}
      data-open={route.open.value === batch.id}
      tabIndex={-1}
      onClick={() => route.go({ open: batch.id })}
      data-testid="batch-row"
      data-state={look.word}
    >
      <td class="col-state">
        <span class="state">
          <Mark look={look} /> {look.word}
        </span>
      </td>
      <td class="col-name">
        <span class="cut">
          <a class="name" href={route.href({ open: batch.id })} onClick={(event) => event.stopPropagation()}>
            {batchTitle(batch)}
          </a>{" "}
          <span class="faint">{batch.reason || batch.filter}</span>
        </span>
      </td>
      <td class="col-stages">
        <Progress batch={batch} />
      </td>
      <td class="col-who weak cut">{batch.actor || "–"}</td>
      <td class="col-start number" title={made === undefined ? "" : exactTime(made)}>
        {made === undefined ? "–" : when(made, clock.serverNow())}
      </td>
    </tr>
  );
});
