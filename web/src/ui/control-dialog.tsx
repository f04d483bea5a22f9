// Says what will be done and to what, asks for a reason, and for what cannot be undone for a word. The same act is one CLI line.
import { type Signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { type ActionWords, actionWords, cliLine, workflowLook } from "../core/words";
import type { Intent } from "../stores/control";
import { useStores } from "./context";
import { CliLine, Dialog, TypedWord } from "./dialog";
import { Mark } from "./mark";
import type { ControlAction, Workflow } from "../core/wire";

export function ControlDialog(): JSX.Element | null {
  const { control } = useStores();
  const intent = control.intent.value;
  const words = intent === undefined ? undefined : actionWords(intent.action);
  return intent === undefined || words === undefined ? null : (
    <Confirm key={`${intent.workflow.id} ${intent.action}`} intent={intent} words={words} />
  );
}

const WORD = "cancel";

function Confirm({ intent, words }: { readonly intent: Intent; readonly words: ActionWords }): JSX.Element {
  const { control, workflows, connection } = useStores();
  const reason = useSignal("");
  const typed = useSignal("");
  // What is confirmed is what is shown, and that follows the workflow.
  const workflow = workflows.get(intent.workflow.id) ?? intent.workflow;
  const obstacle = obstacleOf(workflow, intent.action, connection.lock.value, typed.value);

  const confirm = (): void => {
    if (obstacle === "") {
      control.dismiss();
      void control.request(workflow, intent.action, reason.value.trim());
    }
  };
  const name = workflow.workflowName || workflow.id;
  return (
    <Dialog
      title={`${words.label} “${name}”?`}
      testId="control-dialog"
      marks={{ "data-action": words.verb }}
      close={() => control.dismiss()}
      submit={confirm}
    >
      <p class="weak">{words.effect}</p>
      <p>
        <span class="state">
          <Mark look={workflowLook(workflow.state)} /> {workflowLook(workflow.state).word}
        </span>{" "}
        <span class="weak">{workflow.currentStage}</span> <span class="mono faint">{workflow.id}</span>
      </p>
      {intent.action === "CONTROL_ACTION_CANCEL" ? <TypedWord word={WORD} typed={typed} testId="control-word" /> : null}
      <Reason reason={reason} />
      <CliLine line={cliLine(words.verb, workflow.id, reason.value.trim())} testId="control-cli" />
      <Buttons words={words} obstacle={obstacle} dismiss={() => control.dismiss()} />
    </Dialog>
  );
}

interface ButtonsProps {
  readonly words: ActionWords;
  readonly obstacle: string;
  readonly dismiss: () => void;
}

function Buttons({ words, obstacle, dismiss }: ButtonsProps): JSX.Element {
  return (
    <div class="acts">
      <span class="weak small grow">{obstacle}</span>
      <button type="button" class="button" onClick={dismiss} data-testid="control-dismiss">
        Back
      </button>
      <button
        type="submit"
        class={`button primary ${words.verb === WORD ? "danger" : ""}`}
        aria-disabled={obstacle !== ""}
        title={obstacle}
        {...(words.verb === WORD ? {} : { "data-first": "" })}
        data-testid="control-confirm"
      >
        {words.label} workflow
      </button>
    </div>
  );
}

function Reason({ reason }: { readonly reason: Signal<string> }): JSX.Element {
  return (
    <label>
      <span>
        Reason <span class="faint">(kept with the command)</span>
      </span>
      <input
        class="field"
        value={reason.value}
        maxLength={1024}
        onInput={(event) => (reason.value = event.currentTarget.value)}
        autocomplete="off"
        data-testid="control-reason"
      />
    </label>
  );
}

function obstacleOf(workflow: Workflow, action: ControlAction, lock: string, typed: string): string {
  if (lock !== "") {
    return lock;
  }
  const may = workflow.actions.find((each) => each.action === action);
  if (may !== undefined && !may.available) {
    return may.reason;
  }
  return action === "CONTROL_ACTION_CANCEL" && typed.trim().toLowerCase() !== WORD ? `Type “${WORD}” first` : "";
}
