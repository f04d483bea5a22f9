// Dark, light, or what the system says; kept in this browser.
import { signal } from "@preact/signals";

export type Theme = "system" | "dark" | "light";

const KEY = "pilothouse.theme";
const ORDER: readonly Theme[] = ["system", "dark", "light"];

export class ThemeStore {
  readonly theme = signal<Theme>(read());
  // Grows whenever colours change; canvases read their colours again.
  readonly version = signal(0);

  run(): () => void {
    this.#show();
    const system = matchMedia("(prefers-color-scheme: dark)");
    const changed = (): void => {
      this.version.value++;
    };
    system.addEventListener("change", changed);
    return () => system.removeEventListener("change", changed);
  }

  next(): void {
    this.theme.value = ORDER[(ORDER.indexOf(this.theme.peek()) + 1) % ORDER.length] ?? "system";
    try {
      localStorage.setItem(KEY, this.theme.peek());
    } catch {
      // A browser that keeps nothing still shows the theme until it is closed.
    }
    this.#show();
  }

  #show(): void {
    document.documentElement.dataset["theme"] = this.theme.peek();
    this.version.value++;
  }
}

function read(): Theme {
  try {
    return ORDER.find((each) => each === localStorage.getItem(KEY)) ?? "system";
  } catch {
    return "system";
  }
}
