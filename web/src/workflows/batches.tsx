// Acts on many, newest first, each with how far it is.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { exactTime, when } from "../core/format";
import { timestampMs } from "../core/time";
import { useStores } from "../ui/context";
import { type Columns, Rows } from "../ui/rows";
import { List, useShown } from "../ui/lists";
import { Mark } from "../ui/mark";
import { memo } from "../ui/memo";
import { Panel } from "../ui/panel";
import type { Batch } from "../core/wire";
import { Progress, batchTitle } from "./batch";
import { batchLook } from "./words";

const AGAIN_MS = 3_000;
const HEAD: Columns = [
  ["col-state", "State"],
  ["col-name", "What"],
  ["col-stages", "Outcomes"],
  ["col-who", "Who"],
  ["col-start number", "Made"],
];

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
  return (
    <Panel title="Acts on many" class="tall" testId="batches" aside={<span>newest first</span>}>
      <Rows
        list={list}
        what="the batches"
        head={HEAD}
        row={(batch) => <Row key={batch.id} batch={batch} />}
        none={
          <>
            None yet. Choose workflows with <kbd>x</kbd>, or filter them, and act on all at once.
          </>
        }
      />
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
