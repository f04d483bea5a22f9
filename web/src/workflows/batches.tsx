// Acts on many, newest first, each with how far it is.
import type { JSX } from "preact";
import { timestampMs } from "../core/time";
import { useStores } from "../ui/context";
import { type Column, Listed, useList } from "../ui/listed";
import { Mark } from "../ui/mark";
import { When } from "../ui/panel";
import type { Batch } from "../core/wire";
import { Progress, batchTitle } from "./batch";
import { batchLook } from "./words";

const AGAIN_MS = 3_000;

const COLUMNS: readonly Column<Batch>[] = [
  [
    "State",
    "col-state",
    ({ state }) => (
      <span class="state">
        <Mark look={batchLook(state)} /> {batchLook(state).word}
      </span>
    ),
  ],
  ["What", "col-name", (batch) => <Title batch={batch} />],
  ["Outcomes", "col-stages", (batch) => <Progress batch={batch} />],
  ["Who", "col-who weak cut", ({ actor }) => actor || "–"],
  ["Made", "col-start number", ({ createTime }) => <When at={timestampMs(createTime)} />],
];

function Title({ batch }: { readonly batch: Batch }): JSX.Element {
  const { route } = useStores();
  return (
    <span class="cut">
      <a class="name" href={route.href({ open: batch.id })} onClick={(event) => event.stopPropagation()}>
        {batchTitle(batch)}
      </a>{" "}
      <span class="faint">{batch.reason || batch.filter}</span>
    </span>
  );
}

export function Batches(): JSX.Element {
  const { call } = useStores();
  const list = useList<Batch>(async (pageToken, signal) => {
    const { message } = await call("BatchService/ListBatches", { pageSize: 50, pageToken }, signal);
    return { items: message.batches, next: message.nextPageToken };
  }, AGAIN_MS);
  return (
    <Listed
      title="Acts on many"
      what="the batches"
      list={list}
      columns={COLUMNS}
      testId="batch-row"
      id={({ id }) => id}
      opens={({ id }) => id}
      state={({ state }) => batchLook(state).word}
      empty={
        <>
          None yet. Choose workflows with <kbd>x</kbd>, or filter them, and act on all at once.
        </>
      }
    />
  );
}
