// Asks for an act on one or on many, one after the other, and stays open to say what became of each.
import { type Signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { plural, timeOfDay } from "../core/format";
import { type ActionWords, actionWords } from "../core/words";
import type { ControlAction } from "../core/wire";
import { type ActPhase, isOver } from "../stores/commands";
import { useStores } from "../ui/context";
import { CliLine, Dialog, TypedWord } from "../ui/dialog";
import { Amount, ReasonField, Submit } from "../ui/form";
import { useTask } from "../ui/lists";
import { Mark } from "../ui/mark";
import { Rolling, type Step, type Target } from "./rolling";

export interface Asked {
  readonly action: ControlAction;
  // "agent e2e-1", "3 agents of type e2e"
  readonly name: string;
  readonly targets: readonly Target[];
  // Those that cannot be asked, and why.
  readonly unable: readonly { readonly id: string; readonly reason: string }[];
  readonly effect?: string;
  readonly cli: (id: string, reason: string, size: string) => string;
}

const LOOKS: Readonly<Partial<Record<ActPhase | "", Parameters<typeof Mark>[0]["look"]>>> = {
  "": { tone: "unknown", shape: "ring" },
  effective: { tone: "good", shape: "check" },
  failed: { tone: "critical", shape: "triangle" },
  expired: { tone: "warning", shape: "diamond" },
  refused: { tone: "critical", shape: "cross" },
};

function wordOf(asked: Asked): string {
  return asked.targets.length > 1 ? String(asked.targets.length) : asked.action === "CONTROL_ACTION_RESTART" ? "restart" : "";
}

export function Asking({ asked, close }: { readonly asked: Asked; readonly close: () => void }): JSX.Element | null {
  const { call } = useStores();
  const reason = useSignal("");
  const typed = useSignal("");
  const size = useSignal<number | undefined>(undefined);
  const rolling = useMemo(
    () => new Rolling(async (commandId) => (await call("CommandService/GetCommand", { commandId })).message.command),
    [],
  );
  const words = actionWords(asked.action);
  if (words === undefined) {
    return null;
  }
  const obstacle = obstacleOf(asked, typed.value, size.value);
  const left = (): void => {
    rolling.stop();
    close();
  };
  const idle = rolling.state.value === "idle";
  return (
    <Dialog
      title={`${words.label} ${asked.name}${idle ? "?" : ""}`}
      testId="asking"
      marks={{ "data-action": words.verb }}
      close={left}
      submit={() => (idle && obstacle === "" ? rolling.run(asked.targets, reason.value.trim(), size.value) : undefined)}
    >
      {idle ? (
        <Form asked={asked} words={words} obstacle={obstacle} reason={reason} typed={typed} size={size} close={left} />
      ) : (
        <Outcomes words={words} rolling={rolling} close={left} />
      )}
    </Dialog>
  );
}

function obstacleOf(asked: Asked, typed: string, size: number | undefined): string {
  const word = wordOf(asked);
  return asked.targets.length === 0
    ? "None of them can be asked now"
    : asked.action === "CONTROL_ACTION_RESIZE" && size === undefined
      ? "Say how many first"
      : typed.trim() === word
        ? ""
        : `Type “${word}” first`;
}

interface FormProps {
  readonly asked: Asked;
  readonly words: ActionWords;
  readonly obstacle: string;
  readonly reason: Signal<string>;
  readonly typed: Signal<string>;
  readonly size: Signal<number | undefined>;
  readonly close: () => void;
}

function Form({ asked, words, obstacle, reason, typed, size, close }: FormProps): JSX.Element {
  const task = useTask();
  const { targets, unable, action } = asked;
  const word = wordOf(asked);
  return (
    <>
      <p class="weak">
        {asked.effect ?? words.effect}
        {targets.length > 1 ? " One after the other: the next is asked when the one before has ended." : ""}
      </p>
      {unable.length === 0 ? null : (
        <ul class="lines unable">
          {unable.map(({ id, reason: why }) => (
            <li key={id}>
              <Mark look={{ tone: "warning", shape: "cross" }} />
              <span>
                <span class="mono">{id}</span> is left out: {why}
              </span>
            </li>
          ))}
        </ul>
      )}
      {action === "CONTROL_ACTION_RESIZE" ? (
        <label>
          <span>Tasks at once</span>
          <Amount value={size.value} set={(value) => (size.value = value)} testId="asking-size" />
        </label>
      ) : null}
      <ReasonField value={reason} testId="asking-reason" />
      {word === "" ? null : <TypedWord word={word} typed={typed} testId="asking-word" />}
      <CliLine line={asked.cli(targets[0]?.id ?? "ID", reason.value.trim(), String(size.value ?? ""))} testId="asking-cli" />
      <div class="acts">
        <button type="button" class="button" onClick={close}>
          Back
        </button>
        <Submit task={task} danger={action === "CONTROL_ACTION_RESTART"} obstacle={obstacle} testId="asking-do">
          {words.label} {targets.length > 1 ? plural(targets.length, "agent") : ""}
        </Submit>
      </div>
    </>
  );
}

interface OutcomesProps {
  readonly words: ActionWords;
  readonly rolling: Rolling;
  readonly close: () => void;
}

function Outcomes({ words, rolling, close }: OutcomesProps): JSX.Element {
  const over = rolling.state.value === "over";
  return (
    <>
      <ul class="lines" aria-live="polite">
        {rolling.steps.value.map((step) => (
          <li key={step.id} data-testid="asking-step" data-phase={step.phase} data-id={step.id}>
            <Mark look={LOOKS[step.phase] ?? { tone: "notice", shape: "dot" }} />
            <span>
              <span class="mono">{step.id}</span> {stepWords(step, words)}
            </span>
          </li>
        ))}
      </ul>
      <div class="acts">
        <button type="button" class="button" onClick={close} data-testid="asking-close">
          {over ? "Close" : rolling.steps.value.length > 1 ? "Ask no further" : "Close; it goes on"}
        </button>
      </div>
    </>
  );
}

export function stepWords(step: Step, { verb, done }: ActionWords): string {
  const at = step.at === undefined || !isOver(step.phase as ActPhase) ? "" : ` ${timeOfDay(step.at)}`;
  const what =
    step.phase === ""
      ? "not asked yet"
      : step.phase === "sending"
        ? `${verb}: sending`
        : step.phase === "effective"
          ? done
          : `${verb} ${step.phase}`;
  return `${what}${at}${step.words === "" ? "" : `: ${step.words}`}`;
}
