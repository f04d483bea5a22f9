// Frames are applied once for each frame that the screen shows. A hidden page gets no animation frames, so it uses a timer.
export interface FrameScheduler {
  hidden(): boolean;
  nextFrame(run: () => void): void;
  after(ms: number, run: () => void): void;
}

const HIDDEN_MS = 1_000;
const MOST_WAITING = 2_000;

export class FrameBatch<T> {
  #waiting: T[] = [];
  #scheduled = false;

  constructor(
    private readonly scheduler: FrameScheduler,
    private readonly apply: (items: readonly T[]) => void,
  ) {}

  add(item: T): void {
    this.#waiting.push(item);
    if (this.#waiting.length >= MOST_WAITING) {
      this.flush();
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      const run = (): void => this.flush();
      if (this.scheduler.hidden()) {
        this.scheduler.after(HIDDEN_MS, run);
      } else {
        this.scheduler.nextFrame(run);
      }
    }
  }

  // Also called when the page is hidden, because the animation frame that was asked for will not come.
  flush(): void {
    this.#scheduled = false;
    if (this.#waiting.length > 0) {
      const items = this.#waiting;
      this.#waiting = [];
      this.apply(items);
    }
  }
}
