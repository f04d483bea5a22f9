// The fields of forms, each with what the server says is wrong with it. Drafts are plain JSON of the contract; a field is named as the contract
// names it, which is how the server names what it refuses.
import { createContext } from "preact";
import type { ComponentChildren, JSX, TargetedEvent } from "preact";
import { useContext, useId } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { durationInput, durationJson } from "../core/spans";
import { jsonMs } from "../core/time";
import type { Violation } from "../live/call";
import "../styles/forms.css";
import { useStores } from "./context";
import { Picture } from "./mark";
import type { Task } from "./lists";

// What is wrong, and where the form stands in the request: `rule`, `channel`.
export const Wrong = createContext<{ readonly at: string; readonly violations: readonly Violation[] }>({ at: "", violations: [] });

// Protovalidate writes `labels["team"]`, the server `condition.all.conditions[0]`: both begin with the path of a field here.
function wrongAt(wrong: { readonly at: string; readonly violations: readonly Violation[] }, at: string, deep: boolean): string {
  const path = `${wrong.at}.${at}`;
  const words = wrong.violations
    .filter(({ field }) => field === path || (deep && field.startsWith(path) && /^[.[]/.test(field.slice(path.length))))
    .map((each) => each.description);
  return words.join("; ");
}

interface FieldProps {
  readonly label: string;
  readonly at: string;
  readonly hint?: string | undefined;
  // Whether it speaks for what is inside of it too.
  readonly deep?: boolean;
  readonly class?: string;
  readonly group?: boolean;
  readonly children: ComponentChildren;
}

export function Field({ label, at, hint, deep = false, class: name = "", group = false, children }: FieldProps): JSX.Element {
  const words = wrongAt(useContext(Wrong), at, deep);
  const body = (
    <>
      <span class="field-name">
        {label} {hint === undefined ? null : <span class="faint">{hint}</span>}
      </span>
      {children}
      {words === "" ? null : (
        <span class="wrong" role="alert" data-testid="wrong" data-field={at}>
          {words}
        </span>
      )}
    </>
  );
  const attributes = { class: `form-field ${words === "" ? "" : "is-wrong"} ${name}` };
  return group ? (
    <div role="group" aria-label={label} {...attributes}>
      {body}
    </div>
  ) : (
    <label {...attributes}>{body}</label>
  );
}

interface InputProps<T> {
  readonly value: T;
  readonly set: (value: T) => void;
  readonly testId?: string;
  readonly label?: string;
  readonly placeholder?: string;
  // Where a dialog begins.
  readonly first?: boolean;
}

type Writing = { readonly type?: "text" | "password" | "datetime-local" };

export function Text({ value, set, testId, label, placeholder, first, type = "text" }: InputProps<string> & Writing): JSX.Element {
  const attributes = {
    ...{ class: "field", value, placeholder, spellcheck: false },
    ...{ "aria-label": label, "data-first": first === true ? "" : undefined, "data-testid": testId },
    onInput: (event: TargetedEvent<HTMLInputElement>) => set(event.currentTarget.value),
  };
  switch (type) {
    case "password":
      return <input type="password" autocomplete="new-password" {...attributes} />;
    case "datetime-local":
      return <input type="datetime-local" {...attributes} />;
    default:
      return <input type="text" autocomplete="off" {...attributes} />;
  }
}

// Why something is done.
export function ReasonField({
  value,
  testId,
  hint = "kept in the audit log",
}: {
  readonly value: { value: string };
  readonly testId: string;
  readonly hint?: string;
}): JSX.Element {
  return (
    <Field label="Reason" hint={hint} at="reason">
      <Text value={value.value} set={(next) => (value.value = next)} testId={testId} />
    </Field>
  );
}

export function Area({ value, set, testId, label, first, rows = 2 }: InputProps<string> & { readonly rows?: number }): JSX.Element {
  return (
    <textarea
      class="field"
      rows={rows}
      value={value}
      aria-label={label}
      onInput={(event) => set(event.currentTarget.value)}
      data-first={first === true ? "" : undefined}
      data-testid={testId}
    />
  );
}

export function Choice<T extends string>({
  value,
  set,
  of,
  testId,
  label,
}: InputProps<T> & { readonly of: readonly (readonly [T, string, ...unknown[]])[] }): JSX.Element {
  return (
    <select class="field" value={value} aria-label={label} onChange={(event) => set(event.currentTarget.value as T)} data-testid={testId}>
      {of.map(([each, word]) => (
        <option key={each} value={each}>
          {word}
        </option>
      ))}
    </select>
  );
}

export function Check({ value, set, testId, children }: InputProps<boolean> & { readonly children: ComponentChildren }): JSX.Element {
  return (
    <label class="check">
      <input type="checkbox" checked={value} onChange={(event) => set(event.currentTarget.checked)} data-testid={testId} />
      <span>{children}</span>
    </label>
  );
}

// What is typed stays as typed; the draft has the number as soon as it is one.
export function Amount({
  value,
  set,
  testId,
  label,
  placeholder,
  unit,
}: InputProps<number | undefined> & { readonly unit?: string }): JSX.Element {
  const typed = useSignal(value === undefined ? "" : String(value));
  const shown = parsed(typed.value) === value ? typed.value : value === undefined ? "" : String(value);
  const input = (text: string): void => {
    typed.value = text;
    set(parsed(text));
  };
  return (
    <span class="with-unit">
      <input
        class="field number"
        inputMode="decimal"
        placeholder={placeholder}
        value={shown}
        aria-label={label}
        onInput={(event) => input(event.currentTarget.value)}
        autocomplete="off"
        data-testid={testId}
      />
      {unit === undefined ? null : <span class="weak">{unit}</span>}
    </span>
  );
}

function parsed(text: string): number | undefined {
  const value = Number(text.trim().replace(",", "."));
  return text.trim() === "" || !Number.isFinite(value) ? undefined : value;
}

export function Span({ value, set, testId, label, placeholder = "none" }: InputProps<string | undefined>): JSX.Element {
  const typed = useSignal(durationInput(value));
  const id = useId();
  const said = durationJson(typed.value);
  const known = typed.value.trim() === "" || said !== undefined;
  // What is typed stays as typed, for as long as it is no time or the one that the draft has.
  const shown = known && jsonMs(said) !== jsonMs(value) ? durationInput(value) : typed.value;
  const input = (text: string): void => {
    typed.value = text;
    const json = durationJson(text);
    if (text.trim() === "" || json !== undefined) {
      set(json);
    }
  };
  return (
    <>
      <input
        class="field"
        value={shown}
        aria-label={label}
        aria-invalid={!known}
        aria-describedby={known ? undefined : id}
        placeholder={placeholder}
        onInput={(event) => input(event.currentTarget.value)}
        autocomplete="off"
        data-testid={testId}
      />
      {known ? null : (
        <span class="wrong" id={id}>
          Write it as 30s, 5m or 1h30m
        </span>
      )}
    </>
  );
}

interface RowsProps<T> {
  readonly items: readonly T[];
  readonly set: (items: T[]) => void;
  readonly fresh: T;
  readonly add: string;
  readonly testId?: string;
  readonly row: (item: T, change: (item: T) => void, index: number) => JSX.Element;
}

// A list that grows and shrinks.
export function Rows<T>({ items, set, fresh, add, testId, row }: RowsProps<T>): JSX.Element {
  return (
    <div class="rows" data-testid={testId}>
      {items.map((item, index) => (
        <div key={index} class="row-of">
          {row(item, (changed) => set(items.map((each, place) => (place === index ? changed : each))), index)}
          <button
            type="button"
            class="button icon"
            onClick={() => set(items.filter((_each, place) => place !== index))}
            aria-label="Remove"
            title="Remove"
          >
            <Picture icon="close" />
          </button>
        </div>
      ))}
      <button
        type="button"
        class="link small"
        onClick={() => set([...items, fresh])}
        data-testid={testId === undefined ? undefined : `${testId}-add`}
      >
        + {add}
      </button>
    </div>
  );
}

// A map as rows. Two rows of one name would be one entry, so the rows are kept beside what they make.
export function Pairs({
  map,
  set,
  add,
  testId,
  secret = false,
}: {
  readonly map: Readonly<Record<string, string>> | undefined;
  readonly set: (map: Record<string, string>) => void;
  readonly add: string;
  readonly testId: string;
  // Values are never sent back, so an empty one stands for what is set.
  readonly secret?: boolean;
}): JSX.Element {
  const rows = useSignal<readonly (readonly [string, string])[]>(Object.entries(map ?? {}));
  const change = (items: (readonly [string, string])[]): void => {
    rows.value = items;
    set(Object.fromEntries(items.filter(([name]) => name !== "")));
  };
  return (
    <Rows
      items={rows.value}
      set={change}
      fresh={["", ""] as const}
      add={add}
      testId={testId}
      row={([name, value], put) => (
        <>
          <Text value={name} set={(each) => put([each, value])} label="Name" placeholder="name" />
          <Text
            value={value}
            set={(each) => put([name, each])}
            label="Value"
            placeholder={secret && map?.[name] === "" ? "set, not shown" : "value"}
            type={secret ? "password" : "text"}
          />
        </>
      )}
    />
  );
}

// Some of what there is, by id.
export function Picks({
  chosen,
  set,
  of,
  none,
  testId,
}: {
  readonly chosen: readonly string[] | undefined;
  readonly set: (ids: string[]) => void;
  readonly of: readonly { readonly id?: string; readonly name?: string }[];
  readonly none: string;
  readonly testId: string;
}): JSX.Element {
  const ids = chosen ?? [];
  // What is chosen and gone can still be taken away.
  const gone = ids.filter((id) => !of.some((each) => each.id === id)).map((id) => ({ id, name: `${id} (gone)` }));
  return (
    <div class="picks" data-testid={testId}>
      {[...of, ...gone].map(({ id = "", name }) => (
        <button
          key={id}
          type="button"
          class="chip"
          aria-pressed={ids.includes(id)}
          onClick={() => set(ids.includes(id) ? ids.filter((each) => each !== id) : [...ids, id])}
        >
          {name ?? id}
        </button>
      ))}
      {of.length === 0 && gone.length === 0 ? <span class="faint">{none}</span> : null}
    </div>
  );
}

interface SubmitProps {
  readonly task: Task;
  readonly obstacle?: string;
  readonly testId: string;
  readonly children: ComponentChildren;
  readonly danger?: boolean;
}

// What becomes of a form: requested, or refused with the reason. It is locked while what is shown may be old.
export function Submit({ task, obstacle = "", testId, danger = false, children }: SubmitProps): JSX.Element {
  const { connection } = useStores();
  const { busy, problem } = task.view.value;
  const reason = connection.lock.value || obstacle;
  return (
    <>
      {problem === "" ? null : (
        <p class="tone-critical refused" role="alert" data-testid="refused">
          Refused: {problem}
        </p>
      )}
      <button
        type="submit"
        class={`button primary ${danger ? "danger" : ""}`}
        aria-disabled={reason !== "" || busy}
        title={reason}
        onClick={(event) => {
          if (reason !== "" || busy) {
            event.preventDefault();
          }
        }}
        data-testid={testId}
      >
        {busy ? "Requested…" : children}
      </button>
    </>
  );
}
