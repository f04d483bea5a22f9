// What is kept of one workflow: the budgets that count for it, its commands with each step of their life, who did what, and its events.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { durationText, exactTime, percent, timeOfDay, when } from "../core/format";
import { narrate } from "../core/narrative";
import { timestampMs } from "../core/time";
import { type Look, actionWords, commandLook } from "../core/words";
import { useStores } from "../ui/context";
import { Older } from "../ui/listed";
import { List, useShown } from "../ui/lists";
import { Mark } from "../ui/mark";
import { Part } from "../ui/side";
import type { AuditEntry, Budget, Command, Event } from "../core/wire";
import { auditLook, budgetLook, burnWords, useWords } from "./words";

const AGAIN_MS = 15_000;

// Read again whenever the workflow was.
function useList<T>(
  read: (token: string, signal: AbortSignal) => Promise<{ items: readonly T[]; next?: string }>,
  version: unknown,
): List<T> {
  const list = useMemo(() => new List<T>(read, AGAIN_MS), []);
  useShown(list);
  useEffect(() => list.refresh(), [version]);
  return list;
}

interface LineProps {
  readonly look: Pick<Look, "tone" | "shape">;
  readonly at: number | undefined;
  readonly millis?: boolean;
  readonly title?: string | undefined;
  readonly testId?: string;
  readonly children: ComponentChildren;
}

function Line({ look, at, millis = false, title, testId, children }: LineProps): JSX.Element {
  const { clock } = useStores();
  return (
    <li title={title} data-testid={testId}>
      <Mark look={look} />
      <div class="said">{children}</div>
      <span />
      <time class="number faint" title={at === undefined ? "" : exactTime(at)}>
        {at === undefined ? "" : millis ? timeOfDay(at, "millis") : when(at, clock.serverNow())}
      </time>
    </li>
  );
}

export function Budgets({ id, version }: { readonly id: string; readonly version: unknown }): JSX.Element | null {
  const { call } = useStores();
  const list = useList<Budget>(
    async (_token, signal) => ({ items: (await call("BudgetService/ListBudgets", { workflowId: id }, signal)).message.budgets }),
    version,
  );
  const { items } = list.view.value;
  return items.length === 0 ? null : (
    <Part title="Budgets" count={items.length} testId="budgets">
      <ul class="lines">
        {items.map((budget) => (
          <BudgetLine key={budget.id} budget={budget} id={id} />
        ))}
      </ul>
    </Part>
  );
}

function BudgetLine({ budget, id }: { readonly budget: Budget; readonly id: string }): JSX.Element {
  const { clock } = useStores();
  const use = budget.uses.find((each) => each.workflowId === id) ?? budget.uses.find((each) => each.workflowId === "");
  const look = budgetLook(use?.state ?? "BUDGET_STATE_WITHIN");
  const full = timestampMs(use?.exceedTime);
  const share = Number(use?.share ?? 0);
  const burn = use === undefined ? "" : burnWords(budget, use);
  return (
    <li class="budget" data-testid="budget" data-state={look.word}>
      <Mark look={look} />
      <div class="said">
        <b>{budget.name}</b> <span class="faint">{budget.pause ? "pauses when used up" : "only warns"}</span>
        <p class="weak small">
          {use === undefined ? "nothing used yet" : useWords(budget, use)}
          {burn === "" ? "" : ` · ${burn}`}
          {full === undefined ? "" : ` · used up at ${when(full, clock.serverNow())} if it goes on so`}
        </p>
      </div>
      <span class={`track tone-${look.tone}`}>
        <i style={{ left: "0", width: `${Math.min(100, share * 100)}%` }} />
      </span>
      <span class="number">{percent(share)} %</span>
    </li>
  );
}

// When each step was, the later ones as time since the request.
function life(command: Command): string {
  const asked = timestampMs(command.requestTime);
  const step = (word: string, at: number | undefined): string =>
    at === undefined || asked === undefined
      ? ""
      : `${word} ${at < asked ? "before it was asked for" : `after ${durationText(at - asked)}`}`;
  const ended = command.effectTime === undefined ? step(commandLook(command.state).word.toLowerCase(), timestampMs(command.endTime)) : "";
  return [step("accepted", timestampMs(command.acceptTime)), step("effective", timestampMs(command.effectTime)), ended]
    .filter((each) => each !== "")
    .join(", ");
}

export function Commands({ commands }: { readonly commands: readonly Command[] }): JSX.Element | null {
  const { route } = useStores();
  return commands.length === 0 ? null : (
    <Part title="Commands" count={commands.length}>
      <ul class="lines">
        {commands.map((command) => {
          const effect = timestampMs(command.effectTime);
          return (
            <Line
              key={command.id}
              look={commandLook(command.state)}
              at={timestampMs(command.requestTime)}
              title={effect === undefined ? command.id : `Effective ${exactTime(effect)} by the engine's clock · ${command.id}`}
              testId="command-row"
            >
              {actionWords(command.action)?.label} {commandLook(command.state).word.toLowerCase()}
              <span class="faint">
                {command.actor === "" ? "" : ` · by ${command.actor}`}
                {command.reason === "" ? "" : ` · ${command.reason}`}
              </span>{" "}
              {command.batchId === "" ? null : (
                <a class="small" href={route.href({ page: "workflows", tab: "batches", open: command.batchId })}>
                  its batch
                </a>
              )}
              <p class="weak small">
                {life(command)}
                {command.error === undefined ? "" : `${life(command) === "" ? "" : " · "}${command.error.message}`}
              </p>
            </Line>
          );
        })}
      </ul>
    </Part>
  );
}

export function Audit({ id, version }: { readonly id: string; readonly version: unknown }): JSX.Element | null {
  const { call } = useStores();
  const list = useList<AuditEntry>(async (pageToken, signal) => {
    const filter = `target_kind = "workflow" AND target_id = ${JSON.stringify(id)}`;
    const { message } = await call("AuditService/ListAuditEntries", { filter, pageSize: 20, pageToken }, signal);
    return { items: message.entries, next: message.nextPageToken };
  }, version);
  const { items, phase, problem } = list.view.value;
  if (items.length === 0) {
    return phase === "error" ? <p class="weak small">The audit log could not be read: {problem}</p> : null;
  }
  return (
    <Part title="Audit" testId="audit">
      <ul class="lines">
        {items.map((entry) => {
          const look = auditLook(entry.outcome);
          return (
            <Line
              key={entry.sequence}
              look={look}
              at={timestampMs(entry.recordTime)}
              title={`Record ${entry.sequence} · ${entry.hash}`}
              testId="audit-row"
            >
              {entry.verb} {look.word}
              <span class="faint">
                {entry.actor === "" ? "" : ` · by ${entry.actor}`}
                {entry.reason === "" ? "" : ` · ${entry.reason}`}
                {entry.error === undefined ? "" : ` · ${entry.error.message}`}
              </span>
            </Line>
          );
        })}
      </ul>
      <Older list={list} />
    </Part>
  );
}

export function Events({ events }: { readonly events: readonly Event[] }): JSX.Element {
  return (
    <Part title="Events" count={events.length}>
      <ul class="lines">
        {events.toReversed().map((event) => {
          const words = narrate(event);
          return (
            <Line key={event.id || event.cursor} look={words} at={timestampMs(event.occurTime) ?? timestampMs(event.receiveTime)} millis>
              {words.title}
              <span class="weak">{words.rest === "" ? "" : ` · ${words.rest}`}</span>
            </Line>
          );
        })}
      </ul>
    </Part>
  );
}
