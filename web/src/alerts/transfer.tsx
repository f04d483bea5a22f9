// Rules as files: all of them written down, or taken from a document after a look at what that would do.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { plural } from "../core/format";
import type { ImportRulesResponseJson, RuleFormatJson } from "../gen/pilothouse/v1/rules_pb";
import { problemWords } from "../live/call";
import { useStores } from "../ui/context";
import { Copy } from "../ui/copy";
import { Dialog } from "../ui/dialog";
import { Note } from "../ui/panel";
import { useDesk } from "./desk";
import { Area, Choice, Submit } from "../ui/form";
import { useTask } from "../ui/lists";

const FORMATS: readonly (readonly [RuleFormatJson, string])[] = [
  ["RULE_FORMAT_PILOTHOUSE", "Pilothouse YAML"],
  ["RULE_FORMAT_PROMETHEUS", "Prometheus alerting rules"],
];

interface TransferProps {
  readonly close: () => void;
}

export function Transfer({ kind, close }: TransferProps & { readonly kind: "import" | "export" }): JSX.Element {
  return kind === "import" ? <Import close={close} /> : <Export close={close} />;
}

function Export({ close }: TransferProps): JSX.Element {
  const { ask } = useStores();
  const format = useSignal<RuleFormatJson>("RULE_FORMAT_PILOTHOUSE");
  const text = useSignal("");
  const leftOut = useSignal<readonly string[]>([]);
  const problem = useSignal("");
  useEffect(() => {
    const abort = new AbortController();
    ask("RuleService/ExportRules", { format: format.value }, abort.signal).then(
      (answer) => {
        text.value = answer.document ?? "";
        leftOut.value = answer.leftOut ?? [];
        problem.value = "";
      },
      (error: unknown) => {
        if (!abort.signal.aborted) {
          problem.value = problemWords(error);
        }
      },
    );
    return () => abort.abort();
  }, [format.value]);
  const save = (): void => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text.value], { type: "application/yaml" }));
    link.download = "rules.yaml";
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <Dialog title="Export rules" testId="rules-export-dialog" class="large" close={close}>
      <Choice value={format.value} set={(value) => (format.value = value)} of={FORMATS} label="Form" />
      {problem.value === "" ? null : <Note tone="critical">They could not be written down: {problem.value}.</Note>}
      {leftOut.value.length === 0 ? null : (
        <Note tone="warning">Left out, since that form cannot say them: {leftOut.value.join("; ")}</Note>
      )}
      <textarea class="field mono" rows={16} readOnly value={text.value} aria-label="The document" data-testid="rules-document" />
      <div class="acts">
        <span class="grow" />
        <Copy text={text.value} what="document" />
        <button type="button" class="button" onClick={save}>
          Save as a file
        </button>
        <button type="button" class="button" onClick={close}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

function Import({ close }: TransferProps): JSX.Element {
  const { ask, messages } = useStores();
  const desk = useDesk();
  const text = useSignal("");
  const looked = useSignal<ImportRulesResponseJson | undefined>(undefined);
  const task = useTask();
  const put = (value: string): void => {
    text.value = value;
    looked.value = undefined;
  };
  const submit = async (): Promise<void> => {
    const only = looked.value === undefined;
    const done = await task.run(async () => {
      looked.value = await ask("RuleService/ImportRules", { document: text.value, validateOnly: only });
    });
    if (done && !only) {
      messages.say("good", `Imported: ${told(looked.value)}`);
      desk.rules.refresh();
      close();
    }
  };
  const view = task.view.value;
  return (
    <Dialog title="Import rules" testId="rules-import-dialog" class="large" close={close} submit={submit}>
      <p class="weak">
        Our YAML, or alerting rules of Prometheus. A rule of an id or name that is there is updated; all of the document is taken, or
        nothing.
      </p>
      <input
        type="file"
        accept=".yaml,.yml,.json,text/yaml"
        aria-label="A file"
        onChange={(event) => void event.currentTarget.files?.[0]?.text().then(put)}
      />
      <Area value={text.value} set={put} rows={12} label="The document" testId="rules-document" />
      {view.violations.map((each) => (
        <p key={each.field} class="wrong">
          {each.field}: {each.description}
        </p>
      ))}
      {looked.value === undefined ? null : <Note tone="good">This would be done: {told(looked.value)}.</Note>}
      <div class="acts">
        <span class="grow" />
        <button type="button" class="button" onClick={close}>
          Back
        </button>
        <Submit task={task} obstacle={text.value.trim() === "" ? "Paste or choose a document first" : ""} testId="rules-import-do">
          {looked.value === undefined ? "See what it would do" : "Import"}
        </Submit>
      </div>
    </Dialog>
  );
}

function told(answer: ImportRulesResponseJson | undefined): string {
  const part = (rules: readonly unknown[] | undefined, word: string): string =>
    rules === undefined ? "" : `${plural(rules.length, "rule")} ${word}`;
  const parts = [part(answer?.created, "new"), part(answer?.updated, "changed"), part(answer?.unchanged, "as they are")];
  return parts.filter((each) => each !== "").join(", ") || "nothing";
}
