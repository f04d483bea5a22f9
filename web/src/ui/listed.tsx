// A table that is a list of columns, and what stands in its place while there is nothing to show.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { Tab } from "../core/route";
import { useStores } from "./context";
import { List, type Page } from "./lists";
import { Note, Panel } from "./panel";

export type Column<T> = readonly [head: string, name: string, cell: (item: T) => ComponentChildren];

interface RowsProps<T> {
  readonly items: readonly T[];
  readonly columns: readonly Column<T>[];
  readonly testId: string;
  readonly id: (item: T) => string;
  // What a row opens; "" where it opens nothing.
  readonly opens?: (item: T) => string;
  readonly state?: (item: T) => string;
}

export function Table<T>({ items, columns, testId, id, opens, state }: RowsProps<T>): JSX.Element {
  const { route } = useStores();
  return (
    <table class="table full listed">
      <thead>
        <tr>
          {columns.map(([head, name]) => (
            <th key={head} scope="col" class={name}>
              {name === "col-pick" ? <span class="sr">{head}</span> : head}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {items.map((item) => {
          const target = opens?.(item) ?? "";
          return (
            <tr
              key={id(item)}
              data-row=""
              data-opens={target}
              data-open={target !== "" && route.open.value === target}
              tabIndex={-1}
              onClick={() => (target === "" ? undefined : route.go({ open: target }))}
              data-testid={testId}
              data-id={id(item)}
              data-state={state?.(item)}
            >
              {columns.map(([head, name, cell]) => (
                <td key={head} class={name}>
                  {cell(item)}
                </td>
              ))}
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

interface ListedProps<T> extends Omit<RowsProps<T>, "items"> {
  readonly title: string;
  // "the queues"
  readonly what: string;
  readonly list: List<T>;
  readonly empty: ComponentChildren;
  readonly aside?: ComponentChildren;
  readonly class?: string;
  readonly children?: ComponentChildren;
}

export function Listed<T>({ title, what, list, empty, aside, class: name = "tall", children, ...rows }: ListedProps<T>): JSX.Element {
  const { items } = list.view.value;
  return (
    <Panel title={title} class={name} testId={`${rows.testId}s`} aside={aside}>
      {children}
      <Standing list={list} what={what} empty={empty} />
      <div class="body">
        {items.length === 0 ? null : <Table items={items} {...rows} />}
        <Older list={list} />
      </div>
    </Panel>
  );
}

export function Older<T>({ list }: { readonly list: List<T> }): JSX.Element | null {
  return list.view.value.more ? (
    <p class="more">
      <button type="button" class="button" onClick={() => list.older()} data-testid="older">
        Older
      </button>
    </p>
  ) : null;
}

// How reading stands, where that is worth a sentence. What was read stays.
export function Standing<T>({
  list,
  what,
  empty,
}: {
  readonly list: List<T>;
  readonly what: string;
  readonly empty?: ComponentChildren;
}): JSX.Element | null {
  const { phase, items, problem, code } = list.view.value;
  if (phase === "error") {
    return code === "UNIMPLEMENTED" ? (
      <Note tone="warning">This server does not have {what}.</Note>
    ) : code === "NOT_FOUND" || code === "INVALID_ARGUMENT" ? (
      <Note tone="warning">{problem}</Note>
    ) : (
      <Note tone="critical">
        Reading {what} failed: {problem}. It is tried again{items.length > 0 ? "; what is shown is from before" : ""}.
      </Note>
    );
  }
  return items.length > 0 ? null : phase === "loading" ? <Note>Reading {what}…</Note> : empty === undefined ? null : <Note>{empty}</Note>;
}

// A list that lives as long as what shows it.
export function useList<T>(read: (token: string, signal: AbortSignal) => Promise<Page<T>>, everyMs: number, of: unknown = ""): List<T> {
  const list = useMemo(() => new List<T>(read, everyMs), [of]);
  useEffect(() => list.show(), [list]);
  return list;
}

export function Fact({ name, children }: { readonly name: string; readonly children: ComponentChildren }): JSX.Element {
  return (
    <div>
      <dt class="faint small">{name}</dt>
      <dd class="cut">{children}</dd>
    </div>
  );
}

// The tabs of a page, and what the one that is open shows.
export type Tabs = readonly (readonly [tab: Tab, word: string, view: () => JSX.Element | null, aside?: ComponentChildren])[];

export function Tabbed({
  page,
  title,
  first,
  tabs,
  children,
}: {
  readonly page: string;
  readonly title: string;
  // What tests call the tab that has no name in the URL.
  readonly first: string;
  readonly tabs: Tabs;
  // What lies beside or over it.
  readonly children?: ComponentChildren;
}): JSX.Element {
  const { route } = useStores();
  const tab = route.tab.value;
  const View = (tabs.find(([each]) => each === tab) ?? tabs[0])?.[2];
  useEffect(
    () => document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }),
    [
      tab,
      // What stands beside a tab moves those after it.
      tabs.some(([, , , aside]) => Boolean(aside)),
    ],
  );
  return (
    <div class="alerts-page" data-testid={`page-${page}`} data-tab={tab || first}>
      <h1 class="sr">{title}</h1>
      <nav class="tabs" aria-label={title}>
        {tabs.map(([each, word, , aside]) =>
          // A tab without a word is shown by a link from elsewhere.
          word === "" ? null : (
            <a
              key={each}
              href={route.href({ tab: each, open: "" })}
              aria-current={each === tab ? "page" : undefined}
              data-testid={`${page}-tab-${each || first}`}
            >
              {word} {aside}
            </a>
          ),
        )}
      </nav>
      {View === undefined ? null : <View key={tab} />}
      {children}
    </div>
  );
}
