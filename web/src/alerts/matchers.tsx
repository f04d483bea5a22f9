// Matchers of labels as rows, the same in every form.
import type { JSX } from "preact";
import type { MatcherJson } from "../gen/pilothouse/v1/matchers_pb";
import { Choice, Rows, Text } from "../ui/form";
import { MATCH_TYPES } from "./words";

export function Matchers({
  items,
  set,
  testId = "matchers",
}: {
  readonly items: readonly MatcherJson[] | undefined;
  readonly set: (items: MatcherJson[]) => void;
  readonly testId?: string;
}): JSX.Element {
  return (
    <Rows
      items={items ?? []}
      set={set}
      fresh={{ name: "", type: "MATCH_TYPE_EQUAL", value: "" }}
      add="matcher"
      testId={testId}
      row={(item, change) => (
        <>
          <Text value={item.name ?? ""} set={(name) => change({ ...item, name })} label="Label" placeholder="label" testId="matcher-name" />
          <Choice
            value={item.type ?? "MATCH_TYPE_EQUAL"}
            set={(type) => change({ ...item, type })}
            of={MATCH_TYPES}
            label="How it is compared"
          />
          <Text
            value={item.value ?? ""}
            set={(value) => change({ ...item, value })}
            label="Value"
            placeholder="value"
            testId="matcher-value"
          />
        </>
      )}
    />
  );
}
