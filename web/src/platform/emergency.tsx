// Stopping everything, in stages: what is in force and what has come of it, what a stop would do, and what was stopped before.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { count, durationText, plural } from "../core/format";
import {
  STAGES,
  TARGET_STATES,
  countOf,
  furtherThan,
  isActive,
  kindWord,
  progressWords,
  scopeWords,
  stageWords,
  targetLook,
} from "../core/stops";
import { durationMs, timestampMs } from "../core/time";
import { cliOf, nameOf } from "../core/words";
import type { EmergencyPreview, EmergencyStage, EmergencyStop, EmergencyTarget, EmergencyTargetKind } from "../core/wire";
import { requestId } from "../stores/control";
import { Act } from "../ui/act";
import { Confirm } from "../ui/confirm";
import { useStores } from "../ui/context";
import { CliLine, TypedWord } from "../ui/dialog";
import { ReasonField, Submit } from "../ui/form";
import { type Column, Listed, Standing, useList } from "../ui/listed";
import { useTask } from "../ui/lists";
import { Mark } from "../ui/mark";
import { Note, Panel, Since, When } from "../ui/panel";

const stageName = (stage: EmergencyStage): string => nameOf(stage, "EMERGENCY_STAGE").toLowerCase();
// What has to be typed for a stage.
const wordOf = (stage: EmergencyStage): string => stageName(stage).replace("_", " ").toUpperCase();

export function Emergency(): JSX.Element {
  const { stops } = useStores();
  return (
    <div class="emergency">
      {stops.active.value.map((stop) => (
        <Running key={stop.id} stop={stop} />
      ))}
      <Start />
      <Past />
    </div>
  );
}

const KINDS: readonly EmergencyTargetKind[] = [
  "EMERGENCY_TARGET_KIND_ENGINE",
  "EMERGENCY_TARGET_KIND_AGENT",
  "EMERGENCY_TARGET_KIND_WORKFLOW",
];

function Running({ stop }: { readonly stop: EmergencyStop }): JSX.Element {
  const { call, stops } = useStores();
  const asked = useSignal<EmergencyStage | "release" | undefined>(undefined);
  const { label } = stageWords(stop.stage);
  const act = async (reason: string): Promise<void> => {
    const which = { emergencyStopId: stop.id, reason, requestId: requestId(), etag: stop.etag };
    const stage = asked.value;
    const { message } =
      stage === "release" || stage === undefined
        ? await call("EmergencyStopService/ReleaseEmergencyStop", which)
        : await call("EmergencyStopService/EscalateEmergencyStop", { ...which, stage, confirmation: wordOf(stage) });
    stops.learn(message.emergencyStop);
  };
  const chosen = asked.value;
  const cli = (reason: string): string =>
    chosen === "release" || chosen === undefined
      ? cliOf("emergency-stops release", stop.id, [["reason", reason]])
      : cliOf("emergency-stops escalate", stop.id, [
          ["stage", stageName(chosen)],
          ["confirmation", wordOf(chosen)],
          ["reason", reason],
        ]);
  return (
    <Panel
      title={`${label}: ${scopeWords(stop.scope)}`}
      class="stop"
      testId="emergency-stop"
      aside={
        <span>
          since <When at={timestampMs(stop.startTime)} />
        </span>
      }
    >
      <div class="pad stack" data-state={stop.state} data-stage={stop.stage} data-stop-id={stop.id}>
        <p class="headline" role="status" data-testid="stop-progress">
          {isActive(stop) ? "In force" : "Being released"} · {progressWords(stop)}
        </p>
        <p class="weak">
          {stop.actor || "Somebody"}: “{stop.reason}”
          {stop.releaseTime === undefined ? "" : ` · let go by ${stop.releasedBy || "somebody"}: “${stop.releaseReason}”`}
        </p>
        <Counts stop={stop} />
        <Disobedient stop={stop} />
        {isActive(stop) ? (
          <p class="acts" data-acts="">
            <Act
              testId="stop-release"
              refused=""
              hint="Lets everything go on that this stop stopped, and nothing else"
              onClick={() => (asked.value = "release")}
            >
              Release…
            </Act>
            {furtherThan(stop.stage).map(([stage, words]) => (
              <Act
                key={stage}
                testId={`stop-${stageName(stage)}`}
                class="danger"
                refused=""
                hint={words.effect}
                onClick={() => (asked.value = stage)}
              >
                Go further: {words.label.toLowerCase()}…
              </Act>
            ))}
          </p>
        ) : null}
      </div>
      {chosen === undefined ? null : (
        <Confirm
          title={chosen === "release" ? "Release this stop?" : `${stageWords(chosen).label}: ${scopeWords(stop.scope)}?`}
          label={chosen === "release" ? "Release" : stageWords(chosen).label}
          done={chosen === "release" ? "It is being released" : `${stageWords(chosen).label} is in force`}
          word={chosen === "release" ? "" : wordOf(chosen)}
          reasoned="needed"
          cli={cli}
          act={act}
          close={() => (asked.value = undefined)}
        >
          {chosen === "release"
            ? "What this stop paused, drained or held goes on as it was. What was paused by hand stays paused."
            : stageWords(chosen).effect}
        </Confirm>
      )}
    </Panel>
  );
}

function Counts({ stop }: { readonly stop: EmergencyStop }): JSX.Element {
  const states = TARGET_STATES.filter((state) => countOf(stop, [state]) > 0);
  return (
    <table class="counts" data-testid="stop-counts">
      <thead>
        <tr>
          <th />
          {states.map((state) => (
            <th key={state} scope="col" class="number weak">
              <span class="state">
                <Mark look={targetLook(state)} /> {targetLook(state).word}
              </span>
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {KINDS.filter((kind) => countOf(stop, TARGET_STATES, kind) > 0).map((kind) => (
          <tr key={kind}>
            <th scope="row">{plural(countOf(stop, TARGET_STATES, kind), kindWord(kind))}</th>
            {states.map((state) => (
              <td key={state} class="number">
                {count(countOf(stop, [state], kind)).replace(/^0$/, "–")}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const OPEN = ["EMERGENCY_TARGET_STATE_REFUSED", "EMERGENCY_TARGET_STATE_NOT_RELEASED", "EMERGENCY_TARGET_STATE_ASKED"] as const;
const AGAIN_MS = 2_000;

function Disobedient({ stop }: { readonly stop: EmergencyStop }): JSX.Element | null {
  const { call } = useStores();
  const open = countOf(stop, OPEN);
  const list = useList<EmergencyTarget>(
    async (pageToken, signal) => {
      const input = { emergencyStopId: stop.id, states: [...OPEN], pageSize: 20, pageToken };
      const { message } = await call("EmergencyStopService/ListEmergencyStopTargets", input, signal);
      return { items: message.targets, next: message.nextPageToken };
    },
    5 * AGAIN_MS,
    stop.id,
  );
  useEffect(() => list.refresh(), [open, stop.stage, stop.state]);
  const { items, more } = list.view.value;
  return open === 0 ? null : (
    <div data-testid="stop-open">
      <b>{isActive(stop) ? "Has not obeyed" : "Was not let go"}</b>
      <Targets of={items} />
      {more ? (
        <button type="button" class="link small" onClick={() => list.older()}>
          More
        </button>
      ) : null}
    </div>
  );
}

function Targets({ of }: { readonly of: readonly EmergencyTarget[] }): JSX.Element {
  const { route } = useStores();
  const page = (kind: EmergencyTargetKind): "workflows" | "agents" => (kind === "EMERGENCY_TARGET_KIND_WORKFLOW" ? "workflows" : "agents");
  return (
    <ul class="lines targets">
      {of.map(({ kind, id, state, error }) => (
        <li key={`${kind} ${id}`} data-testid="stop-target" data-state={state}>
          <Mark look={targetLook(state)} />
          <span>
            {kindWord(kind)}{" "}
            {kind === "EMERGENCY_TARGET_KIND_ENGINE" ? (
              <b>{id}</b>
            ) : (
              <a class="mono" href={route.href({ page: page(kind), tab: "", filter: "", state: "", open: id })}>
                {id}
              </a>
            )}{" "}
            <span class="weak">{error === undefined ? (state === OPEN[2] ? "was asked" : "") : error.message}</span>
          </span>
        </li>
      ))}
    </ul>
  );
}

function Start(): JSX.Element {
  const { call, ask, stops, workflows, agents } = useStores();
  const stage = useSignal<EmergencyStage>("EMERGENCY_STAGE_HOLD_NEW");
  const workflowType = useSignal("");
  const agentType = useSignal("");
  const reason = useSignal("");
  const typed = useSignal("");
  const task = useTask();
  const scope = { workflowType: workflowType.value.trim(), agentType: agentType.value.trim() };
  const read = async (_token: string, signal: AbortSignal): Promise<{ items: EmergencyPreview[] }> => ({
    items: [(await call("EmergencyStopService/PreviewEmergencyStop", { stage: stage.value, scope }, signal)).message],
  });
  const list = useList<EmergencyPreview>(read, AGAIN_MS);
  useEffect(() => list.ask(read), [stage.value, scope.workflowType, scope.agentType]);
  const preview = list.view.value.items[0];
  const word = preview?.confirmation || wordOf(stage.value);
  const why = reason.value.trim();
  const { label, effect } = stageWords(stage.value);
  const obstacle = why === "" ? "Say why first" : typed.value.trim() === word ? "" : `Type “${word}” first`;
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (obstacle !== "") {
      return;
    }
    await task.run(async () => {
      const input = { stage: stage.value, scope, reason: why, confirmation: typed.value.trim(), requestId: requestId() };
      const { emergencyStop } = await ask("EmergencyStopService/StartEmergencyStop", input);
      const { message } = await call("EmergencyStopService/GetEmergencyStop", { emergencyStopId: emergencyStop?.id ?? "" });
      stops.learn(message.emergencyStop);
      typed.value = reason.value = "";
    });
  };
  const known = (types: readonly string[]): readonly string[] => [...new Set(types)].filter((each) => each !== "").sort();
  return (
    <Panel title="Stop everything" testId="emergency-start">
      <form class="pad stack" onSubmit={(event) => void submit(event)}>
        <div role="group" aria-label="How far" class="tools">
          {STAGES.map(([each, words]) => (
            <button
              key={each}
              type="button"
              class="chip"
              aria-pressed={stage.value === each}
              onClick={() => (stage.value = each)}
              title={words.effect}
              data-testid={`stage-${stageName(each)}`}
            >
              {words.label}
            </button>
          ))}
        </div>
        <p class={stage.value === "EMERGENCY_STAGE_CANCEL_ALL" ? "tone-critical" : "weak"}>{effect}</p>
        <div class="fields">
          <Only name="Only workflows of type" value={workflowType} of={known(workflows.all.value.map((each) => each.workflowType))} />
          <Only name="Only agents of type" value={agentType} of={known(agents.groups.value.map((each) => each.type))} />
        </div>
        <div class="preview-box" data-testid="emergency-preview" data-phase={list.view.value.phase}>
          <Standing list={list} what="what it would do" />
          {preview === undefined ? null : <Would preview={preview} />}
        </div>
        <ReasonField value={reason} hint="shown on every page" testId="emergency-reason" />
        <TypedWord word={word} typed={typed} testId="emergency-word" />
        <CliLine
          line={cliOf("emergency-stops start", "", [
            ["stage", stageName(stage.value)],
            ["scope-workflow-type", scope.workflowType],
            ["scope-agent-type", scope.agentType],
            ["reason", why],
            ["confirmation", word],
          ])}
          testId="emergency-cli"
        />
        <div class="tools">
          <Submit task={task} danger obstacle={obstacle} testId="emergency-do">
            {label}: {scopeWords(scope as EmergencyStop["scope"])}
          </Submit>
        </div>
      </form>
    </Panel>
  );
}

function Only({
  name,
  value,
  of,
}: {
  readonly name: string;
  readonly value: { value: string };
  readonly of: readonly string[];
}): JSX.Element {
  return (
    <label class="form-field">
      <span class="field-name">{name}</span>
      <input
        class="field"
        list={name}
        value={value.value}
        placeholder="any"
        onInput={(event) => (value.value = event.currentTarget.value)}
        autocomplete="off"
      />
      <datalist id={name}>
        {of.map((each) => (
          <option key={each} value={each} />
        ))}
      </datalist>
    </label>
  );
}

function Would({ preview }: { readonly preview: EmergencyPreview }): JSX.Element {
  const unable = Number(preview.notAbleCount);
  const parts = [
    preview.engines === "0" ? "" : `${plural(Number(preview.engines), "engine")} start nothing new`,
    preview.agents === "0" ? "" : `${plural(Number(preview.agents), "agent")} drain`,
    preview.workflows === "0" ? "" : `${plural(Number(preview.workflows), "workflow")} obey`,
  ].filter((each) => each !== "");
  return (
    <>
      <p>
        {parts.length === 0 ? "Now it would change " : "Now it would have: "}
        <b data-testid="emergency-would">{parts.join(", ") || "nothing"}</b>
      </p>
      {unable === 0 ? (
        parts.length === 0 ? null : (
          <Note tone="good">All of them can.</Note>
        )
      ) : (
        <>
          <Note tone="warning">{count(unable)} would not obey:</Note>
          <Targets of={preview.notAble} />
        </>
      )}
    </>
  );
}

const COLUMNS: readonly Column<EmergencyStop>[] = [
  ["How far", "w-state", ({ stage }) => stageWords(stage).label],
  [
    "Of what, and why",
    "w-why",
    ({ scope, reason }) => (
      <span class="cut" title={reason}>
        {scopeWords(scope)} <span class="weak">· {reason}</span>
      </span>
    ),
  ],
  ["Quiet after", "w-time", ({ timeToQuiet }) => (timeToQuiet === undefined ? "never" : durationText(durationMs(timeToQuiet)))],
  [
    "Who",
    "w-who",
    ({ actor, releasedBy }) => <span class="cut weak">{actor === releasedBy ? actor : `${actor}, released by ${releasedBy}`}</span>,
  ],
  ["Released", "w-time", ({ endTime }) => <Since at={timestampMs(endTime)} />],
];

function Past(): JSX.Element {
  const { call, stops } = useStores();
  const list = useList<EmergencyStop>(async (pageToken, signal) => {
    const { message } = await call("EmergencyStopService/ListEmergencyStops", { includeReleased: true, pageSize: 20, pageToken }, signal);
    return { items: message.emergencyStops.filter((each) => each.state === "EMERGENCY_STOP_STATE_RELEASED"), next: message.nextPageToken };
  }, 5 * AGAIN_MS);
  useEffect(() => list.refresh(), [stops.active.value.length]);
  return (
    <Listed
      title="Stopped before"
      what="the stops"
      list={list}
      columns={COLUMNS}
      class=""
      testId="past-stop"
      id={({ id }) => id}
      empty="Nothing was stopped before."
    />
  );
}
