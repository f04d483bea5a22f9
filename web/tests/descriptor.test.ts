import { create, type DescFile, type DescMessage, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { base64Encode } from "@bufbuild/protobuf/wire";
import { file_google_protobuf_timestamp, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { literal } from "../build/descriptors";
import { toTimestamp } from "../src/core/time";
import { file_pilothouse_v1_agents } from "../src/gen/pilothouse/v1/agents_pb";
import { file_pilothouse_v1_alerts } from "../src/gen/pilothouse/v1/alerts_pb";
import { file_pilothouse_v1_commands } from "../src/gen/pilothouse/v1/commands_pb";
import { EventSchema, EventType, file_pilothouse_v1_events } from "../src/gen/pilothouse/v1/events_pb";
import { file_pilothouse_v1_live, LiveFrameSchema } from "../src/gen/pilothouse/v1/live_pb";
import { file_pilothouse_v1_metrics } from "../src/gen/pilothouse/v1/metrics_pb";
import { file_pilothouse_v1_workflows } from "../src/gen/pilothouse/v1/workflows_pb";
import { fileOf, type PlainFile } from "../src/live/descriptor";

function asBuilt(file: DescFile): DescFile {
  const text = base64Encode(toBinary(FileDescriptorProtoSchema, file.proto), "std_raw");
  return fileOf(JSON.parse(literal(text)) as PlainFile, file.dependencies.map(asBuilt));
}

// Every property of a descriptor, those that a later version of the library may add too, without what only prints and reflects.
const ELSEWHERE = new Set(["proto", "parent", "file", "toString"]);

function factsOf(desc: object): unknown {
  const told = Object.entries(desc).flatMap(([name, value]: [string, unknown]) => {
    if (ELSEWHERE.has(name) || value === undefined) {
      return [];
    }
    const other = value as { typeName?: string; localName?: string };
    return [[name, typeof value === "function" ? "a function" : typeof value === "object" ? (other.typeName ?? other.localName) : value]];
  });
  return Object.fromEntries(told);
}

function messageFacts(message: DescMessage): unknown[] {
  return [
    factsOf({ ...message, fields: 0, field: 0, oneofs: 0, members: 0, nestedEnums: 0, nestedMessages: 0, nestedExtensions: 0 }),
    message.fields.map((field) => [factsOf(field), message.field[field.localName] === field, field.enum?.values[0]?.number]),
    message.members.map((member) => [member.kind, member.localName]),
    message.oneofs.map((oneof) => [oneof.name, oneof.fields.map((field) => field.name)]),
    message.nestedMessages.map(messageFacts),
  ];
}

const FILES = [
  file_google_protobuf_timestamp,
  file_pilothouse_v1_agents,
  file_pilothouse_v1_alerts,
  file_pilothouse_v1_commands,
  file_pilothouse_v1_events,
  file_pilothouse_v1_live,
  file_pilothouse_v1_metrics,
  file_pilothouse_v1_workflows,
];

test.each(FILES.map((file) => [file.name, file] as const))("%s is described by the build as by the library", (_name, file) => {
  const built = asBuilt(file);
  expect(built.edition).toBe(file.edition);
  expect(built.messages.map(messageFacts)).toEqual(file.messages.map(messageFacts));
  const methods = (each: DescFile): unknown[] =>
    each.services.flatMap((service) =>
      Object.entries(service.method)
        .filter(([, method]) => method.methodKind === "unary")
        .map(([name, method]) => [service.typeName, name, method.name, method.input.typeName, method.output.typeName]),
    );
  expect(methods(built).sort()).toEqual(methods(file).sort());
});

test("what one of them writes the other reads", () => {
  const built = asBuilt(file_pilothouse_v1_live).messages.find((each) => each.name === "LiveFrame") as typeof LiveFrameSchema;
  const event = create(EventSchema, {
    ...{ id: "é", type: EventType.LOG, attributes: { a: "b", "": "c" }, occurTime: toTimestamp(1_700_000_000_123) },
  });
  const frame = create(LiveFrameSchema, { channel: "events:live", sequence: 1n << 62n, payload: eventPayload(event) });
  const bytes = toBinary(LiveFrameSchema, frame);
  expect(toBinary(built, fromBinary(built, bytes))).toEqual(bytes);
  expect(fromBinary(built, bytes)).toEqual(frame);
});

function eventPayload(event: MessageShape<typeof EventSchema>): NonNullable<MessageShape<typeof LiveFrameSchema>["payload"]> {
  return { case: "events", value: { events: [event] } } as unknown as MessageShape<typeof LiveFrameSchema>["payload"];
}
