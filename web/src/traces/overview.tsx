// All of a trace in a strip: where its spans are, what failed, what of it is in view. Dragging over it chooses what is.
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import type { Board } from "./board";
import { Canvas, shade } from "./canvas";
import { density } from "./density";
import { type Pen, drawOverview, scaleOf } from "./draw";
import type { Tree } from "./tree";
import { within } from "./window";

const CELL_PX = 2;
const LINES = 18;
const TURN = 0.0016;

// The strip changes with the trace, not with what is in view, so it is kept as a picture.
interface Kept {
  readonly tree: Tree;
  readonly until: number;
  readonly pen: Pen["look"];
  readonly picture: HTMLCanvasElement;
}

export function Overview({ board }: { readonly board: Board }): JSX.Element {
  const kept = useRef<Kept | undefined>(undefined);
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
    ctx.drawImage(kept.current?.picture as HTMLCanvasElement, 0, 0, width, height);
    const x = scaleOf(full, width);
    ctx.fillStyle = look("text");
    path.at.forEach((_at, step) => {
      const left = x(path.start[step] as number);
      ctx.fillRect(left, height - 3, Math.max(0.5, x(path.end[step] as number) - left), 2);
    });
    if (view !== full) {
      const [left, right] = [x(view.from), Math.max(x(view.to), x(view.from) + 2)];
      shade(pen, left, right);
      ctx.fillRect(left, 0, 1, height);
      ctx.fillRect(right - 1, 0, 1, height);
    }
  };
  return (
    <Canvas
      class="overview"
      paint={paint}
      wheel={(event, { x, width }) => {
        board.zoom(Math.exp(event.deltaY * TURN), (x / width) * full.to);
        event.preventDefault();
      }}
      choose={(from, to, width) => (board.chosen.value = within({ from: (from / width) * full.to, to: (to / width) * full.to }, full))}
      // What is chosen already comes to where it is clicked.
      click={({ x, width }) => board.pan(((x / width) * full.to - (view.from + view.to) / 2) / (view.to - view.from))}
      onDblClick={() => (board.chosen.value = undefined)}
      data-testid="overview"
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
