// All of a trace in a strip: where its spans are, what failed, what of it is in view. Dragging over it chooses what is.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import type { Board } from "./board";
import { Canvas } from "./canvas";
import { density } from "./density";
import { type Pen, drawOverview, scaleOf } from "./draw";
import type { Tree } from "./tree";
import { panned, within } from "./window";

const CELL_PX = 2;
const LINES = 18;
const LEAST_DRAG_PX = 4;

// The strip changes with the trace, not with what is in view, so it is kept as a picture.
interface Kept {
  readonly tree: Tree;
  readonly until: number;
  readonly pen: Pen["look"];
  readonly picture: HTMLCanvasElement;
}

export function Overview({ board, runs }: { readonly board: Board; readonly runs: boolean }): JSX.Element {
  const kept = useRef<Kept | undefined>(undefined);
  const from = useSignal<number | undefined>(undefined);
  const tree = board.tree.value;
  const full = board.full.value;
  const view = board.view.value;
  const path = board.path.value;
  const paint = (pen: Pen): void => {
    const { ctx, width, height, look } = pen;
    const { picture, pen: drawnBy, ...of } = kept.current ?? { picture: undefined, pen: undefined };
    const same = picture?.width === ctx.canvas.width && drawnBy === look && "tree" in of && of.tree === tree && of.until === full.to;
    if (!same) {
      kept.current = { tree, until: full.to, pen: look, picture: pictureOf(pen, tree, full.to) };
    }
    ctx.clearRect(0, 0, width, height);
    ctx.drawImage(kept.current?.picture as HTMLCanvasElement, 0, 0, width, height);
    const x = scaleOf(full, width);
    ctx.fillStyle = look("text");
    path.at.forEach((_at, step) => {
      const left = x(path.start[step] as number);
      ctx.fillRect(left, height - 3, Math.max(0.5, x(path.end[step] as number) - left), 2);
    });
    if (view !== full) {
      ctx.fillStyle = look("accent");
      const [left, right] = [x(view.from), Math.max(x(view.to), x(view.from) + 2)];
      ctx.globalAlpha = 0.2;
      ctx.fillRect(left, 0, right - left, height);
      ctx.globalAlpha = 1;
      ctx.fillRect(left, 0, 1, height);
      ctx.fillRect(right - 1, 0, 1, height);
    }
  };
  const timeAt = (event: MouseEvent): number => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * full.to;
  };
  const moved = (event: MouseEvent): void => {
    if (from.value !== undefined) {
      const [one, other] = [from.value, timeAt(event)];
      const least = (LEAST_DRAG_PX / (event.currentTarget as HTMLElement).clientWidth) * full.to;
      if (Math.abs(one - other) > least) {
        board.chosen.value = within({ from: Math.min(one, other), to: Math.max(one, other) }, full);
      }
    }
  };
  return (
    <Canvas
      class="overview"
      paint={paint}
      data-testid="overview"
      data-runs={runs}
      wheel={(event) => {
        board.zoom(Math.exp(event.deltaY * 0.0016), timeAt(event));
        event.preventDefault();
      }}
      onMouseDown={(event) => {
        from.value = timeAt(event);
        // Where something is chosen already it comes here.
        if (board.chosen.value !== undefined) {
          board.chosen.value = panned(view, full, from.value - (view.from + view.to) / 2);
        }
      }}
      onMouseMove={moved}
      onMouseUp={() => (from.value = undefined)}
      onMouseLeave={() => (from.value = undefined)}
      onDblClick={() => (board.chosen.value = undefined)}
    />
  );
}

function pictureOf({ ctx, look, fill, font, width, height }: Pen, tree: Tree, until: number): HTMLCanvasElement {
  const picture = document.createElement("canvas");
  picture.width = ctx.canvas.width;
  picture.height = ctx.canvas.height;
  const pen = picture.getContext("2d");
  if (pen !== null && tree.spans.length > 0) {
    pen.scale(picture.width / width, picture.height / height);
    const cells = density(tree, { from: 0, to: until }, until, Math.ceil(width / CELL_PX), Math.min(LINES, tree.spans.length));
    drawOverview({ ctx: pen, look, fill, font, width, height: height - 4 }, cells);
  }
  return picture;
}
