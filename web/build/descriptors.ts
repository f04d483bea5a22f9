// protoc-gen-es writes the descriptor of a file as base64, which hardly compresses, and to read which a page needs the descriptor of descriptors.
// The build puts an object literal in its place, with what the wire needs and no more.
import { fromBinary } from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";

const FILE_OF = fileURLToPath(new URL("../src/live/descriptor.ts", import.meta.url));
const CALL = /\bfileDesc\(\s*"([A-Za-z0-9+/]+)"/g;

const KEPT = new Set(
  `name package messageType enumType service field nestedType oneofDecl value method options mapEntry
  number label type typeName oneofIndex proto3Optional inputType outputType`.split(/\s+/),
);
const OPTIONAL_LABEL = 1;

export function plainDescriptors(): Plugin {
  return {
    name: "plain-descriptors",
    apply: "build",
    transform: {
      filter: { id: /_pb\.[jt]s$/, code: "fileDesc(" },
      handler: (code) => ({
        code: `import { fileOf } from ${JSON.stringify(FILE_OF)};\n${code.replace(CALL, (_call, text: string) => `fileOf(${literal(text)}`)}`,
        map: null,
      }),
    },
  };
}

export function literal(base64: string): string {
  return JSON.stringify(fromBinary(FileDescriptorProtoSchema, base64Decode(base64)), (key, value: unknown) => {
    if (key === "enumType") {
      return (value as { name: string; value: unknown[] }[]).map((each) => withoutNames(each));
    }
    if (key === "method") {
      // A page calls no streams; it has its WebSocket.
      return (value as { clientStreaming: boolean; serverStreaming: boolean }[]).filter(
        (each) => !each.clientStreaming && !each.serverStreaming,
      );
    }
    return key === "" || isIndex(key) || (KEPT.has(key) && !isDefault(key, value)) ? value : undefined;
  });
}

// Of an enum the wire needs its zero; the names of the others are in the code.
function withoutNames(each: { name: string; value: unknown[] }): object {
  return { name: each.name, value: each.value.slice(0, 1) };
}

const isIndex = (key: string): boolean => /^\d+$/.test(key);

function isDefault(key: string, value: unknown): boolean {
  if (key === "label") {
    return value === OPTIONAL_LABEL;
  }
  if (key === "options") {
    return (value as { mapEntry?: boolean } | undefined)?.mapEntry !== true;
  }
  return value === false || value === undefined || (Array.isArray(value) && value.length === 0);
}
