import { create, type DescFile, type DescMessage, fromBinary, toBinary } from "@bufbuild/protobuf";
import { base64Encode } from "@bufbuild/protobuf/wire";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { literal } from "../build/descriptors";
import { file_pilothouse_v1_events } from "../src/gen/pilothouse/v1/events_pb";
import { file_pilothouse_v1_live, LiveFrameSchema } from "../src/gen/pilothouse/v1/live_pb";
import { file_pilothouse_v1_metrics } from "../src/gen/pilothouse/v1/metrics_pb";
import { file_pilothouse_v1_workflows } from "../src/gen/pilothouse/v1/workflows_pb";
import { fileOf } from "../src/live/descriptor";

function asBuilt(file: DescFile): DescFile {
  const text = base64Encode(toBinary(FileDescriptorProtoSchema, file.proto), "std_raw");
  return fileOf(JSON.parse(literal(text)) as Record<string, unknown>, file.dependencies.map(asBuilt));
}

const FACTS =
  "name localName number fieldKind listKind mapKind mapKey scalar presence packed delimitedEncoding utf8Validation longAsString";

function fieldsOf(message: DescMessage): unknown[] {
  const own = message.fields.map((field) => [
    ...FACTS.split(" ").map((fact) => (field as unknown as Record<string, unknown>)[fact]),
    [field.message?.typeName, field.enum?.typeName, field.enum?.open, field.enum?.values[0]?.number, field.oneof?.localName],
  ]);
  return [message.typeName, own, message.members.map((member) => member.localName), message.nestedMessages.map(fieldsOf)];
}

test.each([file_pilothouse_v1_events, file_pilothouse_v1_live, file_pilothouse_v1_metrics, file_pilothouse_v1_workflows])(
  "the descriptor that the build writes says of %s what the generated one says",
  (file) => {
    const built = asBuilt(file);
    expect(built.messages.map(fieldsOf)).toEqual(file.messages.map(fieldsOf));
    const methods = (each: DescFile) =>
      each.services.flatMap((service) => service.methods.map((method) => [service.typeName, method.localName, method.input.typeName]));
    expect(methods(built)).toEqual(methods(file));
  },
);

test("what one of them writes the other reads", () => {
  const built = asBuilt(file_pilothouse_v1_live).messages.find((each) => each.name === "LiveFrame");
  const frame = create(LiveFrameSchema, { channel: "events:live", sequence: 7n });
  expect(toBinary(LiveFrameSchema, fromBinary(built as typeof LiveFrameSchema, toBinary(LiveFrameSchema, frame)))).toEqual(
    toBinary(LiveFrameSchema, frame),
  );
});
