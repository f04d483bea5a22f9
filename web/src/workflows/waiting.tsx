// Why a workflow does not move, and the way to what would move it.
import type { JSX } from "preact";
import { exactTime } from "../core/format";
import { timestampMs } from "../core/time";
import { actionWords } from "../core/words";
import { useStores } from "../ui/context";
import { Mark } from "../ui/mark";
import { Since } from "../ui/panel";
import type { Workflow } from "../core/wire";
import { causeLook, remedyPlace } from "./words";

export function Why({ workflow, whole = false }: { readonly workflow: Workflow; readonly whole?: boolean }): JSX.Element | null {
  const { waiting } = workflow;
  if (waiting === undefined) {
    return null;
  }
  const look = causeLook(waiting.cause);
  const since = timestampMs(waiting.sinceTime);
  const title = `${waiting.reason}${since === undefined ? "" : ` · since ${exactTime(since)}`}${waiting.remedy === "" ? "" : ` · ${waiting.remedy}`}`;
  return (
    <div class={whole ? "why whole" : "why"} title={title} data-testid="why" data-cause={look.word}>
      <span class={whole ? "" : "cut"}>
        <Mark look={look} /> <b>{look.word}</b> <span class="weak">{unsaid(look.word, waiting.reason)}</span>{" "}
        {whole ? (
          <span class="faint">
            <Since at={since} />
          </span>
        ) : null}
      </span>
      <Remedy workflow={workflow} whole={whole} />
    </div>
  );
}

// "Paused" and "paused by ana" are "Paused by ana".
const unsaid = (word: string, reason: string): string =>
  reason.toLowerCase().startsWith(word.toLowerCase()) ? reason.slice(word.length) : reason;

function Remedy({ workflow, whole }: { readonly workflow: Workflow; readonly whole: boolean }): JSX.Element | null {
  const { control, route } = useStores();
  const waiting = workflow.waiting;
  if (waiting === undefined || waiting.remedy === "") {
    return null;
  }
  const words = actionWords(waiting.action);
  const place = remedyPlace(waiting);
  const name = whole ? "small" : "small cut";
  if (words !== undefined && workflow.actions.some((each) => each.action === waiting.action && each.available)) {
    const act = (event: Event): void => {
      event.stopPropagation();
      control.ask(workflow, waiting.action);
    };
    return (
      <button type="button" class={`link ${name}`} onClick={act} data-testid="remedy">
        {waiting.remedy}
      </button>
    );
  }
  return place === undefined ? (
    <span class={`faint ${name}`}>{waiting.remedy}</span>
  ) : (
    <a class={name} href={route.href(place)} onClick={(event) => event.stopPropagation()} data-testid="remedy">
      {waiting.remedy}
    </a>
  );
}
