// Who did what, and the proof that nothing of it was changed. The filter is that of the search box.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { count } from "../core/format";
import { timestampMs } from "../core/time";
import { cliOf } from "../core/words";
import type { AuditEntry } from "../core/wire";
import { problemWords } from "../live/call";
import { followed } from "../live/lines";
import { useStores } from "../ui/context";
import { Copy } from "../ui/copy";
import { type Column, Listed, useList } from "../ui/listed";
import { Mark } from "../ui/mark";
import { Note, When } from "../ui/panel";
import { auditLook } from "../workflows/words";

const AGAIN_MS = 5_000;
const TYPING_MS = 300;

const COLUMNS: readonly Column<AuditEntry>[] = [
  [
    "Outcome",
    "w-state",
    ({ outcome }) => (
      <span class="state">
        <Mark look={auditLook(outcome)} /> {auditLook(outcome).word}
      </span>
    ),
  ],
  ["What", "w-name", ({ verb }) => <b class="cut">{verb}</b>],
  ["To what", "w-why", (entry) => <What entry={entry} />],
  ["Who", "w-said", ({ actor }) => <span class="cut">{actor || "–"}</span>],
  ["When", "w-time", ({ recordTime }) => <When at={timestampMs(recordTime)} />],
];

function What({ entry }: { readonly entry: AuditEntry }): JSX.Element {
  const both = Object.keys({ ...entry.before, ...entry.after });
  const changed = both.map((key) => `${key}: ${entry.before[key] || "–"} → ${entry.after[key] || "–"}`).join(" · ");
  return (
    <>
      <span class="cut mono" title={entry.hash}>
        {entry.targetId}
      </span>
      <span class="small weak cut" title={changed}>
        {[entry.reason, entry.error?.message ?? "", changed].filter((each) => each !== "").join(" · ")}
      </span>
    </>
  );
}

export function Audit(): JSX.Element {
  const { call, route } = useStores();
  const filter = route.filter.value.trim();
  const read = async (pageToken: string, signal: AbortSignal): Promise<{ items: readonly AuditEntry[]; next: string }> => {
    const { message } = await call("AuditService/ListAuditEntries", { filter, pageSize: 50, pageToken }, signal);
    return { items: message.entries, next: message.nextPageToken };
  };
  const list = useList<AuditEntry>(read, AGAIN_MS);
  useEffect(() => {
    const timer = setTimeout(() => list.ask(read), TYPING_MS);
    return () => clearTimeout(timer);
  }, [filter]);
  return (
    <Listed
      title="Audit"
      what="the audit log"
      list={list}
      columns={COLUMNS}
      testId="audit-entry"
      id={({ sequence }) => sequence}
      empty={filter === "" ? "Nothing was done yet." : "No record matches."}
      aside={<Export filter={filter} />}
    >
      <Verify />
    </Listed>
  );
}

interface Verdict {
  readonly checked: string;
  readonly complete: boolean;
  readonly intact: boolean;
  readonly problem: string;
  readonly lastSequence: string;
  readonly lastHash: string;
}

function Verify(): JSX.Element {
  const { base } = useStores();
  const verdict = useSignal<Verdict | undefined>(undefined);
  const problem = useSignal("");
  const busy = useSignal(false);
  const verify = async (): Promise<void> => {
    busy.value = true;
    problem.value = "";
    try {
      for await (const each of followed<Verdict>(new URL("api/v1/audit:verify", base), new AbortController().signal)) {
        verdict.value = each;
      }
    } catch (error) {
      problem.value = problemWords(error);
    }
    busy.value = false;
  };
  const found = verdict.value;
  return (
    <div class="pad tools verdict" role="status" data-testid="audit-verdict" data-intact={found?.complete ? found.intact : ""}>
      <button
        type="button"
        class="button"
        aria-disabled={busy.value}
        onClick={() => (busy.value ? undefined : void verify())}
        data-testid="audit-verify"
      >
        {busy.value ? `Checked ${count(Number(found?.checked ?? 0))}…` : "Verify the chain"}
      </button>
      {problem.value !== "" ? (
        <Note tone="critical">It could not be verified: {problem.value}</Note>
      ) : found?.complete !== true ? (
        <span class="weak">Each record carries the hash of the one before it.</span>
      ) : found.intact && found.lastHash === "" ? (
        <Note tone="good">Whole, and empty.</Note>
      ) : found.intact ? (
        <>
          <Note tone="good">Whole: {count(Number(found.checked))} records. The newest has the hash</Note>
          <code class="cut" data-testid="audit-head" title={`Of record ${found.lastSequence}; note it elsewhere, and compare it later`}>
            {found.lastHash}
          </code>
          <Copy text={found.lastHash} what="hash" />
        </>
      ) : (
        <Note tone="critical">Broken: {found.problem}</Note>
      )}
    </div>
  );
}

const FORMATS = { CSV: ["AUDIT_FORMAT_CSV", "csv", "text/csv"], JSON: ["AUDIT_FORMAT_JSON_LINES", "jsonl", "application/jsonl"] } as const;

// The bridge sends the document in pieces, each with how many records there are so far.
function Export({ filter }: { readonly filter: string }): JSX.Element {
  const { base, messages } = useStores();
  const done = useSignal<string | undefined>(undefined);
  const save = async (key: keyof typeof FORMATS): Promise<void> => {
    const [format, ending, type] = FORMATS[key];
    const url = new URL(`api/v1/audit:export?${new URLSearchParams({ format, filter }).toString()}`, base);
    const parts: string[] = [];
    done.value = "0";
    try {
      for await (const { text, exported } of followed<{ text: string; exported: string }>(url, new AbortController().signal)) {
        parts.push(text);
        done.value = exported;
      }
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob(parts, { type }));
      link.download = `audit.${ending}`;
      link.click();
      URL.revokeObjectURL(link.href);
    } catch (error) {
      messages.say("critical", "The export broke off", problemWords(error));
    }
    done.value = undefined;
  };
  return (
    <span class="tools">
      {done.value === undefined ? "Export" : `Exporting ${done.value}…`}
      {(Object.keys(FORMATS) as (keyof typeof FORMATS)[]).map((key) => (
        <button
          key={key}
          type="button"
          class="link"
          title={cliOf("audit export", "", [["filter", filter]])}
          onClick={() => void save(key)}
          data-testid={`audit-export-${key.toLowerCase()}`}
        >
          {key}
        </button>
      ))}
    </span>
  );
}
