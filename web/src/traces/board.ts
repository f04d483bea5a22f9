// What of a trace is in view: what is folded, which piece of time, which row has the cursor. The keyboard is here, so that all that a pointer does can
// be done, and tested, without one.
import { computed, signal } from "@preact/signals";
import type { Span as Range } from "../core/history";
import { NO_PATH, nextSpan, pathOf } from "./path";
import { type Tree, arrange, hasChildren, pathTo, rowOfEach, visibleRows } from "./tree";
import { around, panned, zoomed } from "./window";
import type { TraceAnalysis } from "./wire";

const STEP = 0.7;
const PAN = 0.15;
const PAGE_ROWS = 20;

export class Board {
  readonly tree = signal<Tree>(arrange([]));
  readonly analysis = signal<TraceAnalysis | undefined>(undefined);
  // How far the trace reaches; what runs reaches to now.
  readonly until = signal(1);
  readonly folded = signal<ReadonlySet<string>>(new Set());
  // The piece of time that was chosen; undefined is all of it, also while it grows.
  readonly chosen = signal<Range | undefined>(undefined);
  readonly current = signal("");
  // What a bottleneck or the like is about.
  readonly marked = signal<ReadonlySet<string>>(new Set());

  readonly full = computed<Range>(() => ({ from: 0, to: Math.max(this.until.value, 0.001) }));
  readonly view = computed<Range>(() => this.chosen.value ?? this.full.value);
  readonly rows = computed(() => visibleRows(this.tree.value, this.folded.value));
  readonly rowOf = computed(() => rowOfEach(this.tree.value, this.rows.value));
  readonly path = computed(() => (this.analysis.value === undefined ? NO_PATH : pathOf(this.tree.value, this.analysis.value)));
  // The row of the cursor; -1 where it is nowhere.
  readonly row = computed(() => {
    const at = this.tree.value.at.get(this.current.value);
    return at === undefined ? -1 : (this.rowOf.value[at] ?? -1);
  });

  // Brings a row into view; what shows the rows says how.
  scrollTo: (row: number) => void = () => undefined;

  idOf(row: number): string {
    return this.tree.peek().spans[this.rows.peek()[row] ?? -1]?.spanId ?? "";
  }

  goTo(row: number): void {
    const wanted = Math.max(0, Math.min(this.rows.peek().length - 1, row));
    this.current.value = this.idOf(wanted);
    this.scrollTo(wanted);
  }

  // Shows a span wherever it is: what it is folded into is opened, and the piece of time moved where it is not in it.
  reveal(id: string): void {
    const { at, start, end } = this.tree.peek();
    const place = at.get(id);
    if (place === undefined) {
      return;
    }
    this.unfold(place);
    const view = this.view.peek();
    const [from, to] = [start[place] as number, Math.min(end[place] as number, this.until.peek())];
    if (from > view.to || to < view.from) {
      this.chosen.value = around(from, to, this.full.peek());
    }
    this.current.value = id;
    this.scrollTo(this.row.peek());
  }

  unfold(place: number): void {
    const above = pathTo(this.tree.peek(), place).filter((id) => this.folded.peek().has(id));
    if (above.length > 0) {
      const open = new Set(this.folded.peek());
      above.forEach((id) => open.delete(id));
      this.folded.value = open;
    }
  }

  mark(ids: readonly string[]): void {
    this.marked.value = new Set(ids);
    const first = ids.find((id) => this.tree.peek().at.has(id));
    if (first !== undefined) {
      ids.forEach((id) => this.unfold(this.tree.peek().at.get(id) ?? -1));
      this.reveal(first);
    }
  }

  toggle(id: string): void {
    const folded = new Set(this.folded.peek());
    if (!folded.delete(id)) {
      folded.add(id);
    }
    this.folded.value = folded;
  }

  foldAll(): void {
    const tree = this.tree.peek();
    const below = tree.spans.filter((_span, at) => (tree.depth[at] ?? 0) > 0 && hasChildren(tree, at));
    this.folded.value = new Set(below.map((span) => span.spanId));
    this.goTo(this.row.peek());
  }

  unfoldAll(): void {
    this.folded.value = new Set();
    this.goTo(this.row.peek());
  }

  zoom(factor: number, at?: number): void {
    const view = this.view.peek();
    const next = zoomed(view, this.full.peek(), factor, at ?? (view.from + view.to) / 2);
    const all = next.to - next.from >= (this.full.peek().to - this.full.peek().from) * 0.999;
    this.chosen.value = all ? undefined : next;
  }

  pan(share: number): void {
    const view = this.view.peek();
    if (this.chosen.peek() !== undefined) {
      this.chosen.value = panned(view, this.full.peek(), share * (view.to - view.from));
    }
  }

  // The piece of time in which one span is.
  fit(): void {
    const { at, start, end } = this.tree.peek();
    const place = at.get(this.current.peek());
    if (place !== undefined) {
      this.chosen.value = around(start[place] as number, Math.min(end[place] as number, this.until.peek()), this.full.peek());
    }
  }

  // Whether the key means something here.
  key(key: string, shift: boolean): boolean {
    const row = this.row.peek();
    if (shift && (key === "ArrowLeft" || key === "ArrowRight")) {
      this.pan(key === "ArrowLeft" ? -PAN : PAN);
      return true;
    }
    const act = this.#acts[key];
    act?.(row);
    return act !== undefined;
  }

  readonly #acts: Readonly<Record<string, (row: number) => void>> = {
    ArrowDown: (row) => this.goTo(row + 1),
    j: (row) => this.goTo(row + 1),
    ArrowUp: (row) => this.goTo(row - 1),
    k: (row) => this.goTo(row - 1),
    PageDown: (row) => this.goTo(row + PAGE_ROWS),
    PageUp: (row) => this.goTo(row - PAGE_ROWS),
    Home: () => this.goTo(0),
    End: () => this.goTo(this.rows.peek().length - 1),
    ArrowRight: (row) => this.#into(row),
    ArrowLeft: (row) => this.#out(row),
    "+": () => this.zoom(STEP),
    "=": () => this.zoom(STEP),
    "-": () => this.zoom(1 / STEP),
    "0": () => (this.chosen.value = undefined),
    f: () => this.fit(),
    "[": () => this.foldAll(),
    "]": () => this.unfoldAll(),
    c: () => this.#next((_span, at) => (this.path.peek().share[at] ?? 0) > 0),
    e: () => this.#next((span) => span.error !== undefined || span.state === "WORK_STATE_FAILED"),
  };

  #into(row: number): void {
    const id = this.idOf(row);
    if (this.folded.peek().has(id)) {
      this.toggle(id);
    } else if (hasChildren(this.tree.peek(), this.rows.peek()[row] ?? -1)) {
      this.goTo(row + 1);
    }
  }

  #out(row: number): void {
    const tree = this.tree.peek();
    const at = this.rows.peek()[row] ?? -1;
    const id = this.idOf(row);
    if (hasChildren(tree, at) && !this.folded.peek().has(id)) {
      this.toggle(id);
    } else if ((tree.parent[at] ?? -1) >= 0) {
      this.goTo(this.rowOf.peek()[tree.parent[at] as number] as number);
    }
  }

  #next(holds: Parameters<typeof nextSpan>[2]): void {
    const tree = this.tree.peek();
    const found = nextSpan(tree, tree.at.get(this.current.peek()) ?? -1, holds);
    if (found !== undefined) {
      this.reveal(tree.spans[found]?.spanId ?? "");
    }
  }
}
