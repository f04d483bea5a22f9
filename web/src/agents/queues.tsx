// Where engines take their work from, by their own report.
import type { JSX } from "preact";
import { timestampMs } from "../core/time";
import type { Look } from "../core/words";
import type { Queue } from "../core/wire";
import { useStores } from "../ui/context";
import { type Column, Listed, useList } from "../ui/listed";
import { Mark } from "../ui/mark";
import { Since } from "../ui/panel";
import { PendingNote, QueueActs, queueName } from "./acts";

const AGAIN_MS = 3_000;

function queueLook({ state }: Queue): Look {
  return state === "QUEUE_STATE_PAUSED"
    ? { word: "Paused", tone: "warning", shape: "hold" }
    : state === "QUEUE_STATE_ACTIVE"
      ? { word: "Taking work", tone: "good", shape: "play" }
      : { word: "Not known", tone: "unknown", shape: "dash" };
}

export function Queues(): JSX.Element {
  const { call } = useStores();
  const list = useList<Queue>(
    async (_token, signal) => ({ items: (await call("QueueService/ListQueues", {}, signal)).message.queues }),
    AGAIN_MS,
  );
  // A queue goes on saying that it takes work while all of its engine is paused.
  const idle = (source: string): boolean =>
    list.view.value.items.some(
      (each) => each.source === source && each.state === "QUEUE_STATE_PAUSED" && kindWords(each) === "the whole engine",
    );
  const columns: readonly Column<Queue>[] = [
    [
      "State",
      "w-state",
      (queue) => (
        <>
          <span class="state">
            <Mark look={queueLook(queue)} /> {queueLook(queue).word}
          </span>
          {queue.state === "QUEUE_STATE_ACTIVE" && idle(queue.source) ? <span class="small tone-warning">engine paused</span> : null}
          <PendingNote command={queue.pendingCommand} />
        </>
      ),
    ],
    [
      "Queue",
      "w-why",
      (queue) => (
        <>
          <b class="cut">{queueName(queue)}</b>
          <span class="small weak">{kindWords(queue)}</span>
        </>
      ),
    ],
    ["Engine", "w-name", ({ source }) => <span class="cut">{source}</span>],
    ["Since", "w-time", ({ sinceTime }) => <Since at={timestampMs(sinceTime)} />],
    ["By", "w-said", (queue) => <Paused queue={queue} />],
    ["Actions", "w-act", (queue) => <QueueActs queue={queue} done={() => list.refresh()} />],
  ];
  return (
    <Listed
      title="Queues"
      what="the queues"
      list={list}
      columns={columns}
      testId="queue-row"
      id={(queue) => [queue.source, queue.name, queue.workflowType, queue.agentType].join("/")}
      state={(queue) => queueLook(queue).word}
      empty="No engine has told of a queue. One that takes commands appears here with all that it starts."
    />
  );
}

const kindWords = ({ name, workflowType, agentType }: Queue): string =>
  name !== "" ? "a queue" : workflowType !== "" ? "workflows of this type" : agentType !== "" ? "agents of this type" : "the whole engine";

function Paused({ queue: { pausedBy } }: { readonly queue: Queue }): JSX.Element {
  const { route } = useStores();
  if (pausedBy === undefined) {
    return <span class="faint">–</span>;
  }
  return pausedBy.emergencyStopId === "" ? (
    <span class="cut weak" title={pausedBy.reason}>
      {pausedBy.actor} {pausedBy.reason === "" ? "" : `“${pausedBy.reason}”`}
    </span>
  ) : (
    <a href={route.href({ page: "platform", tab: "emergency", open: pausedBy.emergencyStopId })}>an emergency stop</a>
  );
}
