// Says what will be done and to what, asks for a reason, and for what cannot be undone for a word. The same act is one CLI line.
import { type Signal, useSignal } from "@preact/signals";
import type { JSX, RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { type ActionWords, actionWords, cliLine, workflowLook } from "../core/words";
import type { Intent } from "../stores/control";
import { Copy } from "./copy";
import { useStores } from "./context";
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
  const box = useRef<HTMLDialogElement>(null);
  const reason = useSignal("");
  const typed = useSignal("");
  // What is confirmed is what is shown, and that follows the workflow.
  const workflow = workflows.get(intent.workflow.id) ?? intent.workflow;
  const obstacle = obstacleOf(workflow, intent.action, connection.lock.value, typed.value);

  useModal(box);

  const confirm = (event: Event): void => {
    event.preventDefault();
    if (obstacle === "") {
      control.dismiss();
      void control.request(workflow, intent.action, reason.value.trim());
    }
  };
  const name = workflow.workflowName || workflow.id;
  return (
    <dialog
      ref={box}
      onClose={() => control.dismiss()}
      aria-labelledby="control-title"
      data-testid="control-dialog"
      data-action={words.verb}
    >
      <h2 id="control-title">
        {words.label} “{name}”?
      </h2>
      <form onSubmit={confirm}>
        <p class="weak">{words.effect}</p>
        <p>
          <span class="state">
            <Mark look={workflowLook(workflow.state)} /> {workflowLook(workflow.state).word}
          </span>{" "}
          <span class="weak">{workflow.currentStage}</span> <span class="mono faint">{workflow.id}</span>
        </p>
        {intent.action === "CONTROL_ACTION_CANCEL" ? <TypedWord typed={typed} /> : null}
        <Reason reason={reason} />
        <div class="cli">
          <code data-testid="control-cli">{cliLine(words.verb, workflow.id, reason.value.trim())}</code>
          <Copy text={cliLine(words.verb, workflow.id, reason.value.trim())} what="command line" />
        </div>
        <Buttons words={words} obstacle={obstacle} dismiss={() => control.dismiss()} />
      </form>
    </dialog>
  );
}

// Opens it over everything, and gives the focus back to where it was.
function useModal(box: RefObject<HTMLDialogElement | null>): void {
  useEffect(() => {
    const opener = document.activeElement;
    box.current?.showModal();
    box.current?.querySelector<HTMLElement>("[data-first]")?.focus();
    return () => {
      if (opener instanceof HTMLElement) {
        opener.focus();
      }
    };
  }, []);
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

function TypedWord({ typed }: { readonly typed: Signal<string> }): JSX.Element {
  return (
    <label>
      <span>
        Type <b>{WORD}</b> to confirm
      </span>
      <input
        class="field"
        value={typed.value}
        onInput={(event) => (typed.value = event.currentTarget.value)}
        autocomplete="off"
        spellcheck={false}
        data-first=""
        data-testid="control-word"
      />
    </label>
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
