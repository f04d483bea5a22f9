// A form made of what the contract says of a message: the bridge serves its fields with their comments as /openapi.json. Fields are known by their
// path, as `agents.offline_after`, which is how masks, refusals and the options of the command line name them too.
import type { JSX } from "preact";
import { sentence } from "../core/format";
import { nameOf, shellWord } from "../core/words";
import { durationInput } from "../core/spans";
import { good } from "../live/call";
import { Amount, Check, Choice, Field, Span, Text } from "./form";

export type Value = string | number | boolean;
export type Flat = Readonly<Record<string, Value | undefined>>;

export interface Spec {
  readonly path: string;
  readonly name: string;
  // What the contract says of it, its range included.
  readonly words: string;
  readonly kind: "span" | "number" | "flag" | "text" | readonly string[];
}

interface Schema {
  readonly description?: string;
  readonly type?: string;
  readonly pattern?: string;
  readonly format?: string;
  readonly enum?: readonly string[];
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
}

export interface Contract {
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

const TIMEOUT_MS = 10_000;

export const readContract = async (base: string, signal: AbortSignal): Promise<Contract> =>
  (await good(new URL("openapi.json", base), {}, signal, TIMEOUT_MS)).json() as Promise<Contract>;

export function specsOf(contract: Contract, message: string, before = ""): Spec[] {
  const { schemas } = contract.components;
  return Object.entries(schemas[message]?.properties ?? {}).flatMap(([key, field]) => {
    const of = field.$ref?.split("/").at(-1) ?? "";
    const path = `${before}${key}`;
    const known = schemas[of];
    if (known?.properties !== undefined) {
      return specsOf(contract, of, `${path}.`);
    }
    const kind =
      known?.enum ??
      (field.pattern !== undefined
        ? "span"
        : field.type === "boolean"
          ? "flag"
          : field.type === "number" || field.type === "integer" || field.format === "uint64"
            ? "number"
            : "text");
    return [{ path, name: sentence(key), words: field.description ?? "", kind }];
  });
}

const snake = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
export const camel = (name: string): string => name.replaceAll(/_(\w)/g, (_all, letter: string) => letter.toUpperCase());

// A document as its leaves, by path.
export function flatten(document: object, before = ""): Record<string, Value> {
  return Object.assign(
    {},
    ...Object.entries(document).map(([key, value]: [string, unknown]) => {
      const path = `${before}${snake(key)}`;
      return typeof value === "object" && value !== null ? (Array.isArray(value) ? {} : flatten(value, `${path}.`)) : { [path]: value };
    }),
  ) as Record<string, Value>;
}

// The document that has these leaves; what is undefined is left out.
export function unflatten(flat: Flat): object {
  const document: Record<string, unknown> = {};
  for (const [path, value] of Object.entries(flat)) {
    const [last = "", ...above] = path.split(".").map(camel).reverse();
    if (value !== undefined) {
      const at = above.reduceRight<Record<string, unknown>>((into, key) => (into[key] ??= {}) as Record<string, unknown>, document);
      at[last] = value;
    }
  }
  return document;
}

export interface Change {
  readonly path: string;
  readonly before: Value | undefined;
  readonly after: Value | undefined;
}

export function changesOf(before: Flat, after: Flat): Change[] {
  const same = (a: Value | undefined, b: Value | undefined): boolean => (a === undefined ? b === undefined : String(a) === String(b));
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((path) => !same(before[path], after[path]))
    .map((path) => ({ path, before: before[path], after: after[path] }));
}

// ` --agents-offline-after=60s`, of each.
export function optionsOf(flat: Flat): string {
  return Object.entries(flat)
    .filter(([, value]) => value !== undefined)
    .map(([path, value]) => {
      const name = path.replaceAll(/[._]/g, "-");
      return typeof value === "boolean" ? ` --${value ? "" : "no-"}${name}` : ` --${name}=${shellWord(String(value))}`;
    })
    .join("");
}

export function Changes({ of }: { readonly of: readonly Change[] }): JSX.Element | null {
  return of.length === 0 ? null : (
    <dl class="differences">
      {of.map(({ path, before, after }) => (
        <div key={path} data-testid="change" data-field={path}>
          <dt class="mono faint">{path}</dt>
          <dd class="mono">
            {before === undefined ? null : <del>{String(before)}</del>} {after === undefined ? <i>not set</i> : <ins>{String(after)}</ins>}
          </dd>
        </div>
      ))}
    </dl>
  );
}

interface FieldsProps {
  readonly specs: readonly Spec[];
  readonly draft: Flat;
  // A value that is undefined is one that is not set.
  readonly set: (path: string, value: Value | undefined) => void;
  readonly placeholder?: Flat;
  readonly beside?: (spec: Spec) => JSX.Element | null;
}

export function SchemaFields({ specs, draft, set, placeholder = {}, beside }: FieldsProps): JSX.Element {
  return (
    <>
      {specs.map((spec) => (
        <div key={spec.path} class="setting" data-testid="setting" data-field={spec.path}>
          {spec.kind === "flag" ? (
            <Check value={draft[spec.path] === true} set={(value) => set(spec.path, value)}>
              {spec.name} <span class="faint small">{spec.words}</span>
            </Check>
          ) : (
            <Field label={spec.name} hint={spec.words} at={spec.path}>
              <Input spec={spec} value={draft[spec.path]} fallback={placeholder[spec.path]} set={(value) => set(spec.path, value)} />
            </Field>
          )}
          {beside?.(spec)}
        </div>
      ))}
    </>
  );
}

interface InputProps {
  readonly spec: Spec;
  readonly value: Value | undefined;
  readonly fallback: Value | undefined;
  readonly set: (value: Value | undefined) => void;
}

function Input({ spec, value, fallback, set }: InputProps): JSX.Element {
  const { kind, path } = spec;
  const text = value === undefined ? "" : String(value);
  const shown = fallback === undefined ? "" : String(fallback);
  if (kind === "span") {
    return (
      <Span
        value={value as string | undefined}
        set={set}
        placeholder={durationInput(fallback as string | undefined) || "none"}
        testId={path}
      />
    );
  }
  if (kind === "number") {
    return <Amount value={value === undefined ? undefined : Number(value)} set={set} placeholder={shown} testId={path} />;
  }
  if (kind === "text" || kind === "flag") {
    return <Text value={text} set={(next) => set(next === "" ? undefined : next)} placeholder={shown} testId={path} />;
  }
  const prefix = (kind[0] ?? "").replace(/_UNSPECIFIED$/, "");
  const choices = kind.slice(1).map((each) => [each, sentence(nameOf(each, prefix))] as const);
  return <Choice value={text} set={set} of={choices} testId={path} />;
}
