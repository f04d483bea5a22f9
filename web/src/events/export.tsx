// Writes down what is filtered, as a file, with how far it is and a way to stop.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { count, percent } from "../core/format";
import { cliOf } from "../core/words";
import { problemWords } from "../live/call";
import { followed } from "../live/lines";
import { useStores } from "../ui/context";
import { CliLine, Dialog } from "../ui/dialog";
import { Note } from "../ui/panel";

const FORMATS = {
  CSV: ["EVENT_FORMAT_CSV", "csv", "text/csv"],
  "JSON lines": ["EVENT_FORMAT_JSON_LINES", "jsonl", "application/jsonl"],
} as const;
type Format = keyof typeof FORMATS;

// The browser keeps what is in a blob where it likes, so text is put away in lumps.
const LUMP = 4_000_000;

interface Piece {
  readonly text?: string;
  readonly exported?: string;
  readonly progress?: number;
  readonly complete?: boolean;
}

export function Export({ filter }: { readonly filter: string }): JSX.Element {
  const open = useSignal(false);
  return (
    <>
      <button type="button" class="link" onClick={() => (open.value = true)} data-testid="events-export">
        Export
      </button>
      {open.value ? <Exporting filter={filter} close={() => (open.value = false)} /> : null}
    </>
  );
}

function Exporting({ filter, close }: { readonly filter: string; readonly close: () => void }): JSX.Element {
  const { base } = useStores();
  const format = useSignal<Format>("CSV");
  const done = useSignal<Piece | undefined>(undefined);
  const problem = useSignal("");
  const running = useRef<AbortController | undefined>(undefined);
  const end = (): void => {
    running.current?.abort();
    close();
  };
  const save = async (): Promise<void> => {
    const [name, ending, type] = FORMATS[format.value];
    const url = new URL(`api/v1/events:export?${new URLSearchParams({ format: name, filter }).toString()}`, base);
    const { signal } = (running.current = new AbortController());
    const parts: Blob[] = [];
    let lump = "";
    problem.value = "";
    done.value = {};
    try {
      for await (const piece of followed<Piece>(url, signal)) {
        lump += piece.text ?? "";
        if (lump.length > LUMP || piece.complete === true) {
          parts.push(new Blob([lump]));
          lump = "";
        }
        done.value = piece;
      }
      if (done.value.complete !== true) {
        throw new Error("the document was cut off");
      }
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(parts, { type }));
      link.download = `events.${ending}`;
      link.click();
      URL.revokeObjectURL(link.href);
      close();
    } catch (error) {
      if (!signal.aborted) {
        problem.value = problemWords(error);
        done.value = undefined;
      }
    }
  };
  const { exported = "0", progress = 0 } = done.value ?? {};
  const busy = done.value !== undefined;
  const cli = cliOf("events export", "", [
    ["filter", filter],
    ["format", FORMATS[format.value][0].replace("EVENT_FORMAT_", "").toLowerCase().replaceAll("_", "-")],
  ]);
  return (
    <Dialog title="Export events" testId="export" close={end} submit={() => (busy ? undefined : save())}>
      <p class="weak">
        All that match the filter, the chips and the range, oldest first: also those that are not among the rows here. What comes while it
        runs is not in it.
      </p>
      <label>
        <span>Form</span>
        <select
          class="field"
          value={format.value}
          disabled={busy}
          onChange={(event) => (format.value = event.currentTarget.value as Format)}
          data-testid="export-format"
        >
          {Object.keys(FORMATS).map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
      </label>
      {busy ? (
        <p role="status" data-testid="export-progress">
          <progress value={progress} max={1} aria-label="Looked through" /> {percent(progress)} looked through · {count(Number(exported))}{" "}
          events
        </p>
      ) : null}
      {problem.value === "" ? null : <Note tone="critical">It broke off: {problem.value}</Note>}
      <CliLine line={cli} />
      <div class="acts">
        <span class="grow" />
        <button type="button" class="button" onClick={end} data-testid="export-cancel">
          {busy ? "Cancel" : "Back"}
        </button>
        <button class="button primary" aria-disabled={busy} data-testid="export-do">
          Export
        </button>
      </div>
    </Dialog>
  );
}
