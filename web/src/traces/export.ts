// A trace as a file: written down by the server for other programs, or as a picture of the rows as they are shown.
import { day, durationText } from "../core/format";
import { good } from "../live/call";
import { lines } from "../live/lines";
import { fontOf } from "../ui/colours";
import type { Board } from "./board";
import { penOf } from "./canvas";
import { AXIS, ROW, drawGantt } from "./draw";
import { sceneOf } from "./gantt";
import type { TraceFormat } from "./wire";

const LONGEST_MS = 300_000;

export async function writeDown(base: string, id: string, format: TraceFormat, signal: AbortSignal): Promise<void> {
  const url = new URL(`api/v1/traces/${encodeURIComponent(id)}:export?format=${format}`, base);
  const parts: string[] = [];
  for await (const { text } of lines<{ readonly text: string }>(await good(url, {}, signal, LONGEST_MS), signal)) {
    parts.push(text);
  }
  const kind = format === "TRACE_FORMAT_JAEGER_JSON" ? "jaeger" : "otlp";
  save(new Blob(parts, { type: "application/json" }), `${id}.${kind}.json`);
}

const WIDE = 1_600;
const NAMES = 340;
// Greater pictures are refused by browsers.
const MOST_ROWS = 600;
const INDENT_PX = 12;

// The rows from the first that is seen, with their names.
export async function takePicture(board: Board, runs: boolean, title: string, firstRow: number): Promise<void> {
  const scene = sceneOf(board, runs, firstRow * ROW, -1);
  const rows = scene.rows.subarray(firstRow, firstRow + MOST_ROWS);
  const canvas = document.createElement("canvas");
  const height = AXIS + rows.length * ROW + ROW;
  canvas.width = WIDE * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const ctx = canvas.getContext("2d");
  if (ctx === null) {
    return;
  }
  const pen = penOf(ctx);
  ctx.scale(devicePixelRatio, devicePixelRatio);
  ctx.translate(NAMES, 0);
  drawGantt({ ...pen, width: WIDE - NAMES, height: height - ROW }, { ...scene, current: -1 });
  ctx.translate(-NAMES, 0);
  ctx.globalCompositeOperation = "destination-over";
  ctx.fillStyle = pen.look("panel");
  ctx.fillRect(0, 0, WIDE, height);
  ctx.globalCompositeOperation = "source-over";
  ctx.fillRect(0, 0, NAMES - 1, height);
  ctx.font = fontOf();
  ctx.textBaseline = "middle";
  rows.forEach((at, row) => {
    const span = scene.tree.spans[at];
    const took = durationText(Math.min(scene.tree.end[at] as number, scene.now) - (scene.tree.start[at] as number));
    ctx.fillStyle = pen.look("text");
    ctx.fillText(span?.name || span?.spanId || "", 8 + (scene.tree.depth[at] as number) * INDENT_PX, AXIS + (row + 0.5) * ROW, NAMES - 90);
    ctx.fillStyle = pen.look("text-weak");
    ctx.fillText(took, NAMES - 70, AXIS + (row + 0.5) * ROW);
  });
  const more = scene.rows.length - rows.length - firstRow;
  ctx.fillText(`${title} · ${day(Date.now())}${more > 0 ? ` · ${more} more rows` : ""}`, 8, height - ROW / 2);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done));
  if (blob !== null) {
    save(blob, `${title}.png`);
  }
}

function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replaceAll(/[^\w.-]+/g, "-");
  link.click();
  // The browser reads it a moment later.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
