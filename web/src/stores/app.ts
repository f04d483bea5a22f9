// The composition root: makes every store, joins them to the connection, and starts what runs. Nothing else knows the whole.
import { batch, effect } from "@preact/signals";
import { timestampMs } from "../core/time";
import { actionWords } from "../core/words";
import { FrameBatch } from "../live/batching";
import { type Ask, type Call, asker, caller, problemWords } from "../live/call";
import type { ChannelFrame } from "../live/frames";
import { ingestFrames, pollRound } from "../live/ingest";
import { Link } from "../live/link";
import { Poller } from "../live/poller";
import { CHANNELS } from "../live/positions";
import { browserRuntime } from "../live/websocket";
import { AgentStore } from "./agents";
import { AlertStore } from "./alerts";
import { ClockStore } from "./clock";
import { type Act, CommandStore, actWords } from "./commands";
import { ConnectionStore, NOT_POLLING, POLL_AFTER_FAILURES } from "./connection";
import { ControlStore } from "./control";
import { DetailStore } from "./detail";
import { EventStore } from "./events";
import { HistoryStore } from "./history";
import { ListingStore } from "./listing";
import { MessageStore } from "./messages";
import { MetricsStore } from "./metrics";
import { RouteStore } from "./route";
import { StopStore } from "./stops";
import { ThemeStore } from "./theme";
import { WorkflowStore } from "./workflows";
import type { Command } from "../core/wire";

export interface Stores {
  readonly clock: ClockStore;
  readonly connection: ConnectionStore;
  readonly metrics: MetricsStore;
  readonly history: HistoryStore;
  readonly workflows: WorkflowStore;
  readonly listing: ListingStore;
  readonly detail: DetailStore;
  readonly agents: AgentStore;
  readonly alerts: AlertStore;
  readonly events: EventStore;
  readonly stops: StopStore;
  readonly commands: CommandStore;
  readonly control: ControlStore;
  readonly messages: MessageStore;
  readonly route: RouteStore;
  readonly theme: ThemeStore;
  readonly reconnect: () => void;
  // For the stores of a page that is loaded later.
  readonly base: string;
  readonly call: Call;
  readonly ask: Ask;
}

export function createStores(base: string): { stores: Stores; run: () => void } {
  const call = caller(base);
  const after = (ms: number, run: () => void): void => void setTimeout(run, ms);
  const clock = new ClockStore();
  const connection = new ConnectionStore(clock);
  const metrics = new MetricsStore();
  const workflows = new WorkflowStore();
  const messages = new MessageStore(after);
  const alerts = new AlertStore();
  const commands = new CommandStore(
    (id) => readCommand(call, id),
    (act) => sayOutcome(messages, workflows, act),
    after,
  );
  const stores: Stores = {
    clock,
    connection,
    metrics,
    workflows,
    messages,
    alerts,
    commands,
    history: new HistoryStore(call, clock, metrics),
    listing: new ListingStore(call, workflows),
    detail: new DetailStore(call, workflows),
    agents: new AgentStore(),
    events: new EventStore(),
    stops: new StopStore(),
    control: new ControlStore(call, clock, commands, alerts, messages),
    route: new RouteStore(),
    theme: new ThemeStore(),
    reconnect: () => link.retryNow(),
    base,
    call,
    ask: asker(base),
  };
  const frames = new FrameBatch<ChannelFrame>(
    { hidden: () => document.hidden, nextFrame: (run) => requestAnimationFrame(run), after },
    (items) => ingestFrames(stores, items),
  );
  const link = makeLink(stores, base, frames);
  const poller = makePoller(stores, call);
  return { stores, run: () => start(stores, call, link, poller, frames) };
}

function makeLink(stores: Stores, base: string, frames: FrameBatch<ChannelFrame>): Link {
  return new Link(browserRuntime(base), CHANNELS, {
    changed: (state) => stores.connection.linkChanged(state),
    frame: (frame, receivedAt) => {
      stores.clock.oneWay(receivedAt, timestampMs(frame.timestamp));
      frames.add(frame);
    },
    roundTrip: (sentAt, receivedAt, serverMs) => stores.clock.roundTrip(sentAt, receivedAt, serverMs),
  });
}

function makePoller(stores: Stores, call: Call): Poller {
  const timer = {
    after: (ms: number, run: () => void) => {
      const id = setTimeout(run, ms);
      return () => clearTimeout(id);
    },
  };
  return new Poller(timer, async (signal) => {
    try {
      await pollRound(stores, call, signal);
      if (!signal.aborted) {
        stores.connection.poll.value = { active: true, ok: true, problem: "" };
      }
    } catch (error) {
      if (!signal.aborted) {
        stores.connection.poll.value = { active: true, ok: false, problem: problemWords(error) };
      }
    }
  });
}

function start(stores: Stores, call: Call, link: Link, poller: Poller, frames: FrameBatch<ChannelFrame>): void {
  stores.theme.run();
  stores.clock.run();
  stores.route.listen();
  link.start();
  effect(() => pollWhileCut(stores, poller));
  effect(() => stores.history.load(stores.route.range.value));
  effect(() => stores.detail.open(stores.route.workflow.value));
  effect(() => showListing(stores));
  let loaded = false;
  effect(() => {
    // After a break the charts have a hole and rules may have changed.
    if (stores.connection.link.value.phase === "open" || stores.connection.poll.value.ok === true) {
      if (loaded) {
        return;
      }
      loaded = true;
      stores.history.load(stores.route.range.peek());
      void loadAlertHistory(stores, call);
    } else {
      loaded = false;
    }
  });
  addEventListener("online", () => link.retryNow());
  document.addEventListener("visibilitychange", () => {
    frames.flush();
    if (!document.hidden) {
      link.probe();
    }
  });
}

function pollWhileCut(stores: Stores, poller: Poller): void {
  const { phase, failures } = stores.connection.link.value;
  if (phase === "open") {
    poller.stop();
    stores.connection.poll.value = NOT_POLLING;
  } else if (failures >= POLL_AFTER_FAILURES && !poller.running) {
    stores.connection.poll.value = { ...NOT_POLLING, active: true };
    poller.start();
  }
}

function showListing(stores: Stores): void {
  if (stores.route.page.value === "workflows") {
    stores.listing.show(stores.route.filter.value, stores.route.state.value);
  } else {
    stores.listing.hide();
  }
}

async function loadAlertHistory(stores: Stores, call: Call): Promise<void> {
  try {
    const [rules, past] = await Promise.all([stores.ask("RuleService/ListRules", {}), call("AlertService/ListAlerts", { pageSize: 200 })]);
    batch(() => {
      stores.alerts.rules.value = rules.rules ?? [];
      stores.alerts.learnPast(past.message.alerts.toReversed());
    });
  } catch (error) {
    stores.messages.say("warning", "Alert rules could not be read; the charts show no thresholds", problemWords(error));
  }
}

// A command that cannot be read now is read again later.
async function readCommand(call: Call, commandId: string): Promise<Command | undefined> {
  try {
    return (await call("CommandService/GetCommand", { commandId })).message.command;
  } catch {
    return undefined;
  }
}

function sayOutcome(messages: MessageStore, workflows: WorkflowStore, act: Act): void {
  const workflow = workflows.get(act.workflowId);
  const name = workflow?.workflowName || act.workflowId;
  if (act.phase === "effective") {
    messages.say("good", `${name} ${actionWords(act.action)?.done ?? "done"}`);
  } else {
    messages.say("critical", `${name}: ${actWords(act)}`, act.words);
  }
}
