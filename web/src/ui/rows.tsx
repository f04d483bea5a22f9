// A list of the server as a table whose rows draw themselves, in a panel that has more than the list.
import type { ComponentChildren, JSX } from "preact";
import { useStores } from "./context";
import { Older, Standing } from "./listed";
import type { List } from "./lists";
import { Note } from "./panel";

// The class of a column, and what stands above it.
export type Columns = readonly (readonly [name: string, word: ComponentChildren])[];

interface SheetProps {
  readonly head: Columns;
  readonly class?: string;
  readonly children: ComponentChildren;
}

export function Headed({ head, class: name = "", children }: SheetProps): JSX.Element {
  return (
    <table class={`table full ${name}`}>
      <thead>
        <tr>
          {head.map(([column, word], index) => (
            <th key={index} scope="col" class={column}>
              {word}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  );
}

interface RowsProps<T> {
  readonly list: List<T>;
  // "the silences"
  readonly what: string;
  readonly head: Columns;
  readonly class?: string;
  readonly row: (item: T) => JSX.Element;
  readonly none: ComponentChildren;
  // Those that are shown, where that is not all.
  readonly shown?: readonly T[];
  // A filter that is right, for one that is not.
  readonly example?: string;
}

export function Rows<T>({ list, what, head, class: name = "", row, none, shown, example }: RowsProps<T>): JSX.Element {
  const { items, problem, code } = list.view.value;
  const rows = shown ?? items;
  return (
    <>
      {example !== undefined && code === "INVALID_ARGUMENT" ? (
        <Note tone="warning">
          The filter is not understood: {problem}. Example: <code>{example}</code>
        </Note>
      ) : (
        <Standing list={list} what={what} empty={none} />
      )}
      <div class="body">
        {rows.length > 0 ? (
          <Headed head={head} class={name}>
            {rows.map(row)}
          </Headed>
        ) : items.length > 0 ? (
          <Note>{none}</Note>
        ) : null}
        <Older list={list} />
      </div>
    </>
  );
}

// Nothing matches what somebody searched for.
export function NoMatch({ what }: { readonly what: string }): JSX.Element {
  const { route } = useStores();
  return (
    <>
      No {what} matches.{" "}
      <button type="button" class="link" onClick={() => route.go({ filter: "", state: "" })}>
        Show all
      </button>
    </>
  );
}
