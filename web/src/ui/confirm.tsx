// Asks before something is deleted, restored or ended: what will happen, why, and for what cannot be undone its name.
import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useStores } from "./context";
import { CliLine, Dialog, TypedWord } from "./dialog";
import { ReasonField, Submit } from "./form";
import { useTask } from "./lists";

interface ConfirmProps {
  readonly title: string;
  readonly label: string;
  readonly done: string;
  // To be typed; empty where the act can be undone.
  readonly word?: string;
  readonly reasoned?: boolean | "needed";
  readonly danger?: boolean;
  readonly cli?: ((reason: string) => string) | undefined;
  readonly act: (reason: string) => Promise<unknown>;
  readonly close: (done: boolean) => void;
  readonly children: ComponentChildren;
}

export function Confirm(props: ConfirmProps): JSX.Element {
  const { word = "", reasoned = true, danger = word !== "" } = props;
  const { messages } = useStores();
  const typed = useSignal("");
  const reason = useSignal("");
  const task = useTask();
  const obstacle =
    typed.value.trim() !== word ? `Type “${word}” first` : reasoned === "needed" && reason.value.trim() === "" ? "Say why first" : "";
  const submit = async (): Promise<void> => {
    if (obstacle === "" && (await task.run(() => props.act(reason.value.trim())))) {
      messages.say("good", props.done);
      props.close(true);
    }
  };
  const cli = props.cli?.(reason.value.trim());
  return (
    <Dialog title={props.title} testId="confirm" close={() => props.close(false)} submit={submit}>
      <div class="weak">{props.children}</div>
      {word === "" ? null : <TypedWord word={word} typed={typed} testId="confirm-word" />}
      {reasoned !== false ? <ReasonField value={reason} testId="confirm-reason" /> : null}
      {cli === undefined ? null : <CliLine line={cli} />}
      <div class="acts">
        <span class="grow" />
        <button type="button" class="button" onClick={() => props.close(false)}>
          Back
        </button>
        <Submit task={task} danger={danger} obstacle={obstacle} testId="confirm-do">
          {props.label}
        </Submit>
      </div>
    </Dialog>
  );
}
