// The rows of a trace: names as a tree that is read and steered without a pointer, bars beside them on a canvas, all of the trace in a strip above.
import { type Signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { durationText } from "../core/format";
import { listWindow } from "../core/windowing";
import { workLook } from "../core/words";
import { Mark } from "../ui/mark";
import type { Board } from "./board";
import { Canvas, type Place } from "./canvas";
import { AXIS, EDGE, ROW, type Scene, drawGantt } from "./draw";
import { Overview } from "./overview";
import { hasChildren } from "./tree";
import { within } from "./window";
import type { Span } from "./wire";
import { spanWords } from "./words";

const DEEPEST = 10;
const TURN = 0.0016;

export interface GanttProps {
  readonly board: Board;
  readonly runs: boolean;
  readonly open: (id: string) => void;
}

interface Shown extends GanttProps {
  readonly top: Signal<number>;
  readonly height: Signal<number>;
  readonly hovered: Signal<number>;
}

export function Gantt(props: GanttProps): JSX.Element {
  const { board } = props;
  const box = useRef<HTMLDivElement>(null);
  const shown: Shown = { ...props, top: useSignal(0), height: useSignal(300), hovered: useSignal(-1) };
  useEffect(() => {
    const place = box.current;
    if (place === null) {
      return undefined;
    }
    const observer = new ResizeObserver(() => (shown.height.value = place.clientHeight));
    observer.observe(place);
    board.scrollTo = (row) => {
      const [first, last] = [row * ROW, row * ROW + ROW + AXIS - place.clientHeight];
      // Rows that are not there yet are there after the next frame.
      requestAnimationFrame(() => (place.scrollTop = Math.max(last, Math.min(first, place.scrollTop))));
    };
    return () => {
      observer.disconnect();
      board.scrollTo = () => undefined;
    };
  }, [board]);
  return (
    <>
      <Overview board={board} />
      <div class="spans" ref={box} onScroll={(event) => (shown.top.value = event.currentTarget.scrollTop)}>
        <div style={{ height: `${board.rows.value.length * ROW + AXIS}px` }}>
          <div class="pinned" style={{ height: `${shown.height.value}px` }}>
            <Names {...shown} />
            <Bars {...shown} />
          </div>
        </div>
      </div>
    </>
  );
}

function Names({ board, top, height, hovered, open }: Shown): JSX.Element {
  const rows = board.rows.value;
  const { first, end } = listWindow(top.value, height.value - AXIS, ROW, rows.length, 1);
  const current = board.row.value;
  const pressed = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const opens = event.key === "Enter" && board.current.peek() !== "";
    if (opens) {
      open(board.current.peek());
    }
    if (opens || board.key(event.key, event.shiftKey)) {
      event.preventDefault();
      event.stopPropagation();
    }
  };
  return (
    <div
      class="names"
      role="treegrid"
      aria-label="Spans"
      aria-rowcount={rows.length}
      aria-activedescendant={current >= first && current < end ? `row-${current}` : undefined}
      tabIndex={0}
      data-row=""
      data-testid="span-tree"
      data-rows={rows.length}
      onKeyDown={pressed}
      onFocus={() => (board.row.peek() < 0 ? board.goTo(0) : undefined)}
    >
      {Array.from({ length: end - first }, (_each, index) => {
        const row = first + index;
        return (
          <Name
            key={board.tree.value.spans[rows[row] as number]?.spanId}
            {...{ board, row, open, hovered }}
            place={AXIS + row * ROW - top.value}
            at={rows[row] as number}
          />
        );
      })}
    </div>
  );
}

type NameProps = Pick<Shown, "board" | "open" | "hovered"> & { readonly row: number; readonly at: number; readonly place: number };

function Name({ board, row, at, place, open, hovered }: NameProps): JSX.Element {
  const tree = board.tree.value;
  const span = tree.spans[at] as Span;
  const depth = tree.depth[at] as number;
  const parent = hasChildren(tree, at);
  const folded = board.folded.value.has(span.spanId);
  const until = board.until.value;
  const critical = board.path.value.share[at] ?? 0;
  const click = (): void => {
    board.current.value = span.spanId;
    open(span.spanId);
  };
  const fold = (event: MouseEvent): void => {
    event.stopPropagation();
    board.toggle(span.spanId);
  };
  return (
    <div
      class={`span-row ${board.marked.value.has(span.spanId) ? "marked" : ""}`}
      id={`row-${row}`}
      role="row"
      aria-level={depth + 1}
      aria-rowindex={row + 1}
      aria-expanded={parent ? !folded : undefined}
      aria-selected={board.row.value === row}
      style={{ top: `${place}px`, "--deep": Math.min(depth, DEEPEST) }}
      onClick={click}
      onMouseEnter={() => (hovered.value = at)}
      data-testid="span-row"
      data-id={span.spanId}
      data-state={span.state}
      data-critical={critical > 0}
    >
      <span role="gridcell" class="cut" title={span.name}>
        <i class={parent ? "chevron" : "leaf"} onClick={parent ? fold : undefined} />
        <Mark look={workLook(span.state)} /> {span.name || span.spanId}
        {span.attempt > 1 ? <span class="tone-warning small"> ×{span.attempt}</span> : null}{" "}
        <span class="faint small" aria-hidden="true">
          {span.agentId}
        </span>
        <span class="sr">, {spanWords(span, until, critical)}</span>
      </span>
      <span role="gridcell" class="number weak small">
        {durationText(Math.min(tree.end[at] as number, until) - (tree.start[at] as number))}
      </span>
    </div>
  );
}

// What is drawn; the places that change in it are read where it is called.
export function sceneOf(board: Board, runs: boolean, top: number, hovered: number): Scene {
  return {
    ...{ runs, top, hovered },
    tree: board.tree.value,
    rows: board.rows.value,
    rowOf: board.rowOf.value,
    path: board.path.value,
    view: board.view.value,
    now: board.until.value,
    current: board.tree.value.at.get(board.current.value) ?? -1,
    marked: board.marked.value,
  };
}

function Bars({ board, runs, top, hovered, open }: Shown): JSX.Element {
  const pointed = useSignal<Place | undefined>(undefined);
  const scene = sceneOf(board, runs, top.value, hovered.value);
  const timeAt = (x: number, width: number): number => scene.view.from + (x / (width - EDGE)) * (scene.view.to - scene.view.from);
  const wheel = (event: WheelEvent, { x, y, width }: Place): void => {
    if (event.ctrlKey || event.metaKey || y < AXIS) {
      board.zoom(Math.exp(event.deltaY * TURN), timeAt(x, width));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      board.pan((event.deltaX || event.deltaY) / width);
    } else {
      return;
    }
    event.preventDefault();
  };
  return (
    <div class="bars">
      <Canvas
        paint={(pen) => drawGantt(pen, scene)}
        wheel={wheel}
        pointed={(at) => {
          hovered.value = at === undefined || at.y < AXIS ? -1 : (scene.rows[Math.floor((at.y - AXIS + top.peek()) / ROW)] ?? -1);
          pointed.value = at;
        }}
        choose={(from, to, width) => (board.chosen.value = within({ from: timeAt(from, width), to: timeAt(to, width) }, board.full.peek()))}
        click={() => {
          const id = scene.tree.spans[hovered.peek()]?.spanId;
          if (id !== undefined) {
            board.current.value = id;
            open(id);
          }
        }}
        onDblClick={() => (board.chosen.value = undefined)}
        data-testid="gantt"
        data-from={scene.view.from}
        data-to={scene.view.to}
        data-steps={scene.path.at.length}
      />
      {pointed.value === undefined ? null : <Tip board={board} at={hovered.value} pointed={pointed.value} />}
    </div>
  );
}

function Tip({ board, at, pointed }: { readonly board: Board; readonly at: number; readonly pointed: Place }): JSX.Element | null {
  const tree = board.tree.value;
  const span = tree.spans[at];
  if (span === undefined) {
    return null;
  }
  const until = board.until.value;
  const start = tree.start[at] as number;
  const took = Math.min(tree.end[at] as number, until) - start;
  return (
    <div class="tip small" style={{ left: `${Math.max(0, pointed.x - 300)}px`, top: `${pointed.y + 16}px` }} aria-hidden="true">
      <b>{span.name || span.spanId}</b> <span class="number">{durationText(took)}</span>
      <div class="weak">{spanWords(span, until, board.path.value.share[at] ?? 0)}</div>
      <div class="faint">
        from +{durationText(start)}
        {span.agentId === "" ? "" : ` · ${span.agentId}`}
      </div>
    </div>
  );
}
