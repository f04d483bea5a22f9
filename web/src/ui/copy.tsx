import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { Picture } from "./mark";

const SAID_MS = 1_500;

// The clipboard exists only where the page came over HTTPS or from this machine; elsewhere the text can still be selected.
export function Copy({ text, what }: { readonly text: string; readonly what: string }): JSX.Element | null {
  const copied = useSignal(false);
  if (!("clipboard" in navigator) || navigator.clipboard === undefined) {
    return null;
  }
  const copy = async (event: MouseEvent): Promise<void> => {
    event.stopPropagation();
    await navigator.clipboard.writeText(text);
    copied.value = true;
    setTimeout(() => (copied.value = false), SAID_MS);
  };
  return (
    <button
      type="button"
      class="button"
      onClick={(event) => void copy(event)}
      aria-label={`Copy the ${what}`}
      title={`Copy the ${what}`}
      data-testid="copy"
    >
      <Picture icon="copy" />
      {copied.value ? "Copied" : "Copy"}
    </button>
  );
}
