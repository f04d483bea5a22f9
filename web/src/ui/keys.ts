// The keyboard. Letters act only where nobody is typing; inside a dialog they are the dialog's.
import type { Page } from "../core/route";
import type { Stores } from "../stores/app";

const PAGES: Readonly<Record<string, Page>> = {
  m: "monitoring",
  w: "workflows",
  g: "agents",
  a: "alerts",
  e: "events",
  t: "traces",
  p: "platform",
};
const CHORD_MS = 1_500;

export function listenKeys(stores: Stores, help: () => void, palette: () => void): () => void {
  // By when keys were pressed: a page that was busy sees both late.
  let chordUntil = 0;
  const pressed = (event: KeyboardEvent): void => {
    if ((event.ctrlKey || event.metaKey) && event.key === "k" && document.querySelector("dialog[open]") === null) {
      event.preventDefault();
      palette();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") !== null) {
      return;
    }
    if (event.key === "Escape") {
      escape(stores);
      return;
    }
    if (isTyping(event.target)) {
      return;
    }
    const page = event.timeStamp < chordUntil ? PAGES[event.key] : undefined;
    chordUntil = event.key === "g" && page === undefined ? event.timeStamp + CHORD_MS : 0;
    if (page !== undefined) {
      stores.route.go({ page, tab: "", open: "", state: "" });
    } else if (!act(event, stores, help)) {
      return;
    }
    event.preventDefault();
  };
  addEventListener("keydown", pressed);
  return () => removeEventListener("keydown", pressed);
}

function act(event: KeyboardEvent, stores: Stores, help: () => void): boolean {
  switch (event.key) {
    case "/":
      document.querySelector<HTMLInputElement>('input[name="filter"]')?.select();
      return true;
    case "?":
      help();
      return true;
    case "j":
      return step(1);
    case "k":
      return step(-1);
    case "Enter":
      return openRow(event, stores);
    case "x":
    case "X":
      return choose(event.shiftKey);
    case "b":
      return press("[data-batch]");
    case ".":
      return focusAct(0);
    case "ArrowRight":
      return inActs() && focusAct(1);
    case "ArrowLeft":
      return inActs() && focusAct(-1);
    default:
      return false;
  }
}

function escape(stores: Stores): void {
  const active = document.activeElement;
  if (isTyping(active) && active instanceof HTMLElement) {
    active.blur();
  } else if (stores.route.span.peek() !== "") {
    stores.route.go({ span: "" });
  } else if (stores.route.route.peek().open !== "") {
    stores.route.go({ open: "" });
  }
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.matches("input, textarea, select") || target.isContentEditable);
}

const rows = (): HTMLElement[] => [...document.querySelectorAll<HTMLElement>(".main [data-row]")];
const currentRow = (): HTMLElement | null => document.activeElement?.closest<HTMLElement>("[data-row]") ?? null;

function step(by: number): boolean {
  const all = rows();
  const current = currentRow();
  const at = current === null ? (by > 0 ? -1 : all.length) : all.indexOf(current);
  const next = all[Math.max(0, Math.min(all.length - 1, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
  return next !== undefined;
}

// Space does the same where the box itself has the focus.
function choose(extend: boolean): boolean {
  const box = currentRow()?.querySelector("[data-pick]");
  return box?.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, shiftKey: extend })) !== undefined;
}

function press(what: string): boolean {
  const button = document.querySelector<HTMLElement>(what);
  button?.click();
  return button !== null;
}

function openRow(event: KeyboardEvent, stores: Stores): boolean {
  const row = event.target instanceof HTMLElement && event.target.matches("[data-row]") ? event.target : undefined;
  const id = row?.dataset["workflowId"] ?? row?.dataset["opens"] ?? "";
  if (id !== "") {
    stores.route.go({ open: id });
  }
  return id !== "";
}

const inActs = (): boolean => document.activeElement?.closest("[data-acts]") !== null && document.activeElement !== document.body;

function focusAct(by: number): boolean {
  const scope = document.activeElement?.closest<HTMLElement>("[data-row], .sheet");
  const acts = [...(scope?.querySelectorAll<HTMLElement>("[data-acts] button") ?? [])];
  const at = acts.indexOf(document.activeElement as HTMLElement);
  const free = acts.findIndex((button) => button.getAttribute("aria-disabled") !== "true");
  const next = by === 0 ? acts[Math.max(0, free)] : acts[Math.max(0, Math.min(acts.length - 1, at + by))];
  next?.focus();
  return next !== undefined;
}
