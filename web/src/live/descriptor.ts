// Makes a file's descriptor of the object literal that the build wrote in place of its base64 (build/descriptors.ts).
import { createFileRegistry, type DescFile } from "@bufbuild/protobuf";
import type { FileDescriptorProto } from "@bufbuild/protobuf/wkt";

type Plain = Readonly<Record<string, unknown>>;

const LISTS = ["dependency", "messageType", "enumType", "service", "field", "nestedType", "oneofDecl", "extension", "value", "method"];
// The registry tells what is set from what is not by own properties, so defaults are inherited.
const DEFAULTS: Plain = { label: 1, edition: 0, typeName: "", extendee: "", defaultValue: "" };

export function fileOf(file: Plain, imports: readonly DescFile[] = []): DescFile {
  const proto = hydrated({ ...file, dependency: imports.map((each) => each.proto.name) }) as unknown as FileDescriptorProto;
  const made = createFileRegistry(proto, (name) => imports.find((each) => each.proto.name === name)).getFile(proto.name);
  if (made === undefined) {
    throw new Error(`No descriptor came of ${proto.name}`);
  }
  return made;
}

function hydrated(plain: Plain): object {
  const made: Record<string, unknown> = Object.assign(Object.create(DEFAULTS) as object, { $typeName: "" }, plain);
  for (const list of LISTS) {
    const items = (plain[list] ?? []) as readonly (Plain | string)[];
    made[list] = items.map((item) => (typeof item === "string" ? item : hydrated(item)));
  }
  return made;
}
