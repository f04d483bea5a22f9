// What is kept quiet: until when or how often, what it hides, who made it and why; and the form of a new one, with a look at what it would hide.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { durationText, exactTime, plural, when } from "../core/format";
import { jsonMs, timestampMs } from "../core/time";
import { cliOf } from "../core/words";
import type { SilenceJson } from "../gen/pilothouse/v1/silences_pb";
import { Act } from "../ui/act";
import { useStores } from "../ui/context";
import { Mark } from "../ui/mark";
import { type Columns, Rows } from "../ui/rows";
import { Panel } from "../ui/panel";
import { Confirm } from "../ui/confirm";
import { useDesk } from "./desk";
import { silenceLook } from "./looks";
import { NEW } from "./rules";
import { SilenceForm } from "./silence-form";
import { matcherWords } from "./words";

export function Silences(): JSX.Element {
  const { route } = useStores();
  const desk = useDesk();
  const open = route.open.value;
  const expiring = useSignal<SilenceJson | undefined>(undefined);
  return (
    <Panel
      title="Silences"
      class="tall"
      testId="alerts-silences"
      aside={
        <span class="tools">
          <label class="check">
            <input
              type="checkbox"
              checked={desk.withExpired.value}
              onChange={(event) => {
                desk.withExpired.value = event.currentTarget.checked;
                desk.silences.refresh();
              }}
              data-testid="silences-expired"
            />
            <span>those that are over too</span>
          </label>
          <a class="button primary" href={route.href({ open: NEW })} data-testid="silence-new">
            New silence
          </a>
        </span>
      }
    >
      <Rows
        list={desk.silences}
        what="the silences"
        head={HEAD}
        class="listed"
        row={(silence) => <Row key={silence.id} silence={silence} expire={() => (expiring.value = silence)} />}
        none="Nothing is silenced. A silence keeps alerts that match it quiet for a time: they are shown, and nobody is notified."
      />
      {open.startsWith(":") ? <SilenceForm key={open} of={open} /> : null}
      {expiring.value === undefined ? null : <Expire silence={expiring.value} close={() => (expiring.value = undefined)} />}
    </Panel>
  );
}

const HEAD: Columns = [
  ["w-state", "State"],
  ["", "Alerts that match"],
  ["w-when", "When"],
  ["w-time number", "Quiet now"],
  ["w-said", "Who and why"],
  ["w-act", "Actions"],
];

function Row({ silence, expire }: { readonly silence: SilenceJson; readonly expire: () => void }): JSX.Element {
  const { route } = useStores();
  const look = silenceLook(silence.state);
  const words = matcherWords(silence.matchers ?? []);
  return (
    <tr data-testid="silence-row" data-silence-id={silence.id} data-state={silence.state} data-open={route.open.value === silence.id}>
      <td class="w-state">
        <span class="state">
          <Mark look={look} /> {look.word}
        </span>
      </td>
      <td class="w-why">
        <span class="cut mono" title={words}>
          {words}
        </span>
      </td>
      <td class="w-when">
        <WhenHeld silence={silence} />
      </td>
      <td class="w-time number" data-label="quiet now">
        {silence.state === "SILENCE_STATE_ACTIVE" ? (silence.silencedCount ?? 0) : "–"}
      </td>
      <td class="w-said" title={silence.comment}>
        <span class="cut">{silence.comment}</span>
        <span class="faint small">{silence.createdBy}</span>
      </td>
      <td class="w-act">
        {silence.state === "SILENCE_STATE_EXPIRED" ? null : (
          <Act testId="silence-expire" refused="" onClick={expire} hint="End it now">
            End
          </Act>
        )}
      </td>
    </tr>
  );
}

function WhenHeld({ silence }: { readonly silence: SilenceJson }): JSX.Element {
  const { clock } = useStores();
  const now = clock.serverNow();
  const end = timestampMs(silence.endTime);
  const start = timestampMs(silence.startTime);
  const next = timestampMs(silence.nextStartTime);
  const { recurrence } = silence;
  if (recurrence !== undefined) {
    return (
      <>
        <span class="cut">
          <code>{recurrence.cron}</code> for {durationText(jsonMs(recurrence.duration))}
        </span>
        <span class="faint small">
          {recurrence.timeZone || "UTC"}
          {next === undefined ? "" : ` · next ${when(next, now)}`}
          {end === undefined ? "" : ` · until ${when(end, now)}`}
        </span>
      </>
    );
  }
  return (
    <>
      <span title={end === undefined ? "" : exactTime(end)}>
        {silence.untilResolved === true ? "until resolved" : end === undefined ? "–" : `until ${when(end, now)}`}
      </span>
      <span class="faint small">{start === undefined ? "" : `from ${when(start, now)}`}</span>
    </>
  );
}

function Expire({ silence, close }: { readonly silence: SilenceJson; readonly close: () => void }): JSX.Element {
  const { ask } = useStores();
  const desk = useDesk();
  const { id = "" } = silence;
  return (
    <Confirm
      title="End this silence?"
      label="End silence"
      done="The silence is over"
      cli={(said) => cliOf("silences expire", id, [["reason", said]])}
      act={(reason) => ask("SilenceService/ExpireSilence", { silenceId: id, reason })}
      close={(done) => {
        close();
        if (done) {
          desk.silences.refresh();
        }
      }}
    >
      <code>{matcherWords(silence.matchers ?? [])}</code>
      <p>{plural(silence.silencedCount ?? 0, "alert")} will be told again where they still fire.</p>
    </Confirm>
  );
}
