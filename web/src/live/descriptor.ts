// Makes the descriptor of a file of the literal that the build wrote in place of its base64 (build/descriptors.ts). The library's own way needs
// the descriptors of descriptors and its registry, for languages and options that the contract does not use: this is proto3 without extensions.
// tests/descriptor.test.ts holds the result to what the library makes.
import type { DescEnum, DescField, DescFile, DescMessage, DescOneof, DescService } from "@bufbuild/protobuf";

export interface PlainField {
  readonly name: string;
  readonly number: number;
  readonly type: number;
  readonly label?: number;
  readonly typeName?: string;
  readonly oneofIndex?: number;
  readonly proto3Optional?: boolean;
}

export interface PlainMessage {
  readonly name: string;
  readonly field?: readonly PlainField[];
  readonly nestedType?: readonly PlainMessage[];
  readonly enumType?: readonly PlainEnum[];
  readonly oneofDecl?: readonly { readonly name: string }[];
  readonly options?: { readonly mapEntry: true };
}

export interface PlainEnum {
  readonly name: string;
  // The first one only: a field's default, which is all that the wire needs.
  readonly value: readonly { readonly name: string; readonly number?: number }[];
}

export interface PlainMethod {
  readonly name: string;
  readonly inputType: string;
  readonly outputType: string;
}

export interface PlainFile {
  readonly name: string;
  readonly package: string;
  readonly messageType?: readonly PlainMessage[];
  readonly enumType?: readonly PlainEnum[];
  readonly service?: readonly { readonly name: string; readonly method?: readonly PlainMethod[] }[];
}

type Known = Map<string, DescMessage | DescEnum>;
// Descriptors refer to each other, so they are filled in after they are made.
type Open<T> = { -readonly [K in keyof T]: T[K] };

const PROTO3 = 999;
const REPEATED = 3;
const STRING = 9;
const MESSAGE = 11;
const BYTES = 12;
const ENUM = 14;
const EXPLICIT = 1;
const IMPLICIT = 2;

export function fileOf(plain: PlainFile, imports: readonly DescFile[] = []): DescFile {
  const known: Known = new Map();
  imports.forEach((each) => learn(known, each.messages, each.enums));
  const file = {
    ...{ kind: "file", name: plain.name.replace(/\.proto$/, ""), proto: plain, edition: PROTO3, deprecated: false },
    ...{ dependencies: imports, extensions: [], enums: [], messages: [], services: [] },
  } as unknown as Open<DescFile>;
  file.enums = (plain.enumType ?? []).map((each) => enumOf(each, `.${plain.package}`, file, known));
  const made: [DescMessage, PlainMessage][] = [];
  file.messages = (plain.messageType ?? []).map((each) => messageOf(each, `.${plain.package}`, file, undefined, known, made));
  // Entries of maps first: a map's field tells what its entry's fields are.
  for (const [message, each] of made.toSorted((a, b) => Number(isEntry(b[1])) - Number(isEntry(a[1])))) {
    addFields(message, each, known);
  }
  file.services = (plain.service ?? []).map((each) => serviceOf(each, plain.package, file, known));
  return file;
}

const isEntry = (plain: PlainMessage): boolean => plain.options !== undefined;
const camel = (name: string): string => name.replace(/_+(.)/g, (_all, letter: string) => letter.toUpperCase());

function learn(known: Known, messages: readonly DescMessage[], enums: readonly DescEnum[]): void {
  enums.forEach((each) => known.set(`.${each.typeName}`, each));
  for (const each of messages) {
    known.set(`.${each.typeName}`, each);
    learn(known, each.nestedMessages, each.nestedEnums);
  }
}

function enumOf(plain: PlainEnum, scope: string, file: DescFile, known: Known): DescEnum {
  const typeName = `${scope}.${plain.name}`;
  const values = plain.value.map(({ name, number = 0 }) => ({ kind: "enum_value", name, number, localName: name }));
  const made = { kind: "enum", name: plain.name, typeName: typeName.slice(1), file, open: true, values } as unknown as DescEnum;
  known.set(typeName, made);
  return made;
}

type Made = [DescMessage, PlainMessage][];

function messageOf(
  plain: PlainMessage,
  scope: string,
  file: DescFile,
  parent: DescMessage | undefined,
  known: Known,
  all: Made,
): DescMessage {
  const typeName = `${scope}.${plain.name}`;
  const made = {
    ...{ kind: "message", name: plain.name, typeName: typeName.slice(1), file, parent, proto: plain, deprecated: false },
    ...{ fields: [], field: {}, oneofs: [], members: [], nestedExtensions: [], toString: () => `message ${typeName.slice(1)}` },
  } as unknown as Open<DescMessage>;
  known.set(typeName, made);
  all.push([made, plain]);
  made.nestedEnums = (plain.enumType ?? []).map((each) => enumOf(each, typeName, file, known));
  const nested = (plain.nestedType ?? []).map((each) => [messageOf(each, typeName, file, made, known, all), each] as const);
  made.nestedMessages = nested.filter(([, each]) => !isEntry(each)).map(([each]) => each);
  return made;
}

function addFields(message: DescMessage, plain: PlainMessage, known: Known): void {
  const {
    fields,
    members,
    oneofs,
    field: byName,
  } = message as unknown as { [K in "fields" | "members" | "oneofs"]: unknown[] } & {
    field: Record<string, unknown>;
  };
  const groups = (plain.oneofDecl ?? []).map(
    ({ name }) => ({ kind: "oneof", name, localName: camel(name), parent: message, fields: [] }) as unknown as DescOneof,
  );
  for (const each of plain.field ?? []) {
    const oneof = each.proto3Optional === true || each.oneofIndex === undefined ? undefined : groups[each.oneofIndex];
    const made = fieldOf(each, message, oneof, known);
    fields.push(made);
    byName[made.localName] = made;
    if (oneof === undefined) {
      members.push(made);
    } else {
      oneof.fields.push(made);
      if (!oneofs.includes(oneof)) {
        oneofs.push(oneof);
        members.push(oneof);
      }
    }
  }
}

function fieldOf(plain: PlainField, parent: DescMessage, oneof: DescOneof | undefined, known: Known): DescField {
  const { name, number, type, typeName = "" } = plain;
  const kind = type === MESSAGE ? "message" : type === ENUM ? "enum" : "scalar";
  const repeated = plain.label === REPEATED;
  const target = known.get(typeName);
  if (kind !== "scalar" && target === undefined) {
    throw new Error(`${parent.typeName}.${name} is of ${typeName}, which is not known`);
  }
  const explicit = !repeated && (oneof !== undefined || plain.proto3Optional === true || kind === "message");
  const common = {
    ...{ kind: "field", name, number, localName: camel(name), jsonName: camel(name), parent, oneof, proto: plain, deprecated: false },
    ...{
      presence: explicit ? EXPLICIT : IMPLICIT,
      utf8Validation: true,
      longAsString: false,
      toString: () => `field ${parent.typeName}.${name}`,
    },
  };
  const entry = repeated && target?.kind === "message" && isEntry(target.proto as unknown as PlainMessage) ? target : undefined;
  const [key, value] = entry?.fields ?? [];
  const own = { [kind === "scalar" ? "scalar" : kind]: kind === "scalar" ? type : target };
  const shape =
    key !== undefined && value !== undefined
      ? {
          ...{ fieldKind: "map", mapKey: key.scalar, mapKind: value.fieldKind, delimitedEncoding: false },
          ...{ message: value.message, enum: value.enum, scalar: value.scalar },
        }
      : repeated
        ? { fieldKind: "list", listKind: kind, packed: type !== STRING && type !== BYTES && kind !== "message", ...own }
        : { fieldKind: kind, getDefaultValue: () => undefined, ...own };
  return { ...common, ...(kind === "message" ? { delimitedEncoding: false } : {}), ...shape } as unknown as DescField;
}

function serviceOf(plain: NonNullable<PlainFile["service"]>[number], scope: string, file: DescFile, known: Known): DescService {
  const made = {
    kind: "service",
    name: plain.name,
    typeName: `${scope}.${plain.name}`,
    file,
    deprecated: false,
  } as unknown as Open<DescService>;
  made.methods = (plain.method ?? []).map((each) => ({
    ...{
      kind: "rpc",
      name: each.name,
      localName: each.name.charAt(0).toLowerCase() + each.name.slice(1),
      parent: made,
      methodKind: "unary",
    },
    ...{ input: known.get(each.inputType), output: known.get(each.outputType) },
  })) as unknown as DescService["methods"];
  made.method = Object.fromEntries(made.methods.map((each) => [each.localName, each]));
  return made;
}
