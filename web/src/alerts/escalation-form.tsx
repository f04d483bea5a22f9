// An escalation: which channels are told after how long, until somebody acknowledges.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { EscalationJson } from "../gen/pilothouse/v1/escalations_pb";
import { requestId } from "../stores/control";
import { useStores } from "../ui/context";
import { useDesk } from "./desk";
import { Editing } from "./editing";
import { Field, Picks, Rows, Span, Text } from "../ui/form";

const FRESH: EscalationJson = { name: "", steps: [{ after: "300s", channels: [] }] };

export function EscalationForm({ id }: { readonly id: string }): JSX.Element {
  const { ask } = useStores();
  const { escalations, channels } = useDesk();
  const found = escalations.view.value.items.find((each) => each.id === id);
  const draft = useSignal<EscalationJson | undefined>(undefined);
  const escalation = draft.value ?? found ?? FRESH;
  const set = (change: Partial<EscalationJson>): void => {
    draft.value = { ...escalation, ...change };
  };
  const empty = (escalation.steps ?? []).some((step) => (step.channels ?? []).length === 0);
  return (
    <Editing
      kind="escalation"
      at="escalation"
      id={id}
      list={escalations}
      found={found}
      name={found?.name ?? ""}
      obstacle={escalation.name?.trim() === "" ? "It needs a name" : empty ? "Each step needs a channel" : ""}
      save={() =>
        id === ""
          ? ask("EscalationService/CreateEscalation", { escalation, requestId: requestId() })
          : ask("EscalationService/UpdateEscalation", { escalation, etag: escalation.etag ?? "" })
      }
      remove={() => ask("EscalationService/DeleteEscalation", { escalationId: id, etag: found?.etag ?? "" })}
      effect="Refused while rules name it."
    >
      <Field label="Name" at="name">
        <Text value={escalation.name ?? ""} set={(name) => set({ name })} testId="escalation-name" />
      </Field>
      <Field label="Steps" hint="counted from when the alert fired" at="steps" deep group>
        <Rows
          items={escalation.steps ?? []}
          set={(steps) => set({ steps })}
          fresh={{ after: "900s", channels: [] }}
          add="step"
          testId="escalation-steps"
          row={(step, change) => (
            <>
              <span class="after">
                <Span value={step.after} set={(after) => change({ ...step, after: after ?? "0s" })} label="After" placeholder="at once" />
              </span>
              <Picks
                chosen={step.channels}
                set={(chosen) => change({ ...step, channels: chosen })}
                of={channels.view.value.items}
                none="There are no channels yet."
                testId="escalation-channels"
              />
            </>
          )}
        />
      </Field>
      <Field label="After the last step, again every" at="repeat_interval">
        <Span
          value={escalation.repeatInterval}
          set={(repeatInterval) => set({ repeatInterval } as Partial<EscalationJson>)}
          placeholder="never"
        />
      </Field>
    </Editing>
  );
}
