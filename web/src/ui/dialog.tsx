// What every dialog is made of: it opens over everything, begins at what is marked `data-first`, and gives the focus back to where it was.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Copy } from "./copy";

interface DialogProps {
  readonly title: string;
  readonly testId: string;
  // What else tests can hold on to.
  readonly marks?: Readonly<Record<`data-${string}`, string>>;
  readonly class?: string;
  readonly close: () => void;
  readonly submit?: () => unknown;
  readonly children: ComponentChildren;
}

export function Dialog({ title, testId, marks, class: name, close, submit, children }: DialogProps): JSX.Element {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const opener = document.activeElement;
    box.current?.showModal();
    box.current?.querySelector<HTMLElement>("[data-first]")?.focus();
    return () => {
      if (opener instanceof HTMLElement && opener.isConnected) {
        opener.focus();
      }
    };
  }, []);
  const submitted = (event: Event): void => {
    event.preventDefault();
    void submit?.();
  };
  return (
    <dialog ref={box} class={name} onClose={close} aria-label={title} data-testid={testId} {...marks}>
      <h2>{title}</h2>
      <form onSubmit={submitted}>{children}</form>
    </dialog>
  );
}

// What cannot be undone is confirmed by a word.
export function TypedWord({
  word,
  typed,
  testId,
}: {
  readonly word: string;
  readonly typed: { value: string };
  readonly testId: string;
}): JSX.Element {
  return (
    <label>
      <span>
        Type <b>{word}</b> to confirm
      </span>
      <input
        class="field"
        value={typed.value}
        onInput={(event) => (typed.value = event.currentTarget.value)}
        autocomplete="off"
        spellcheck={false}
        data-first=""
        data-testid={testId}
      />
    </label>
  );
}

// The same act in a terminal.
export function CliLine({
  line,
  what = "command line",
  testId,
}: {
  readonly line: string;
  readonly what?: string;
  readonly testId?: string;
}): JSX.Element {
  return (
    <div class="cli">
      <code data-testid={testId}>
        {line.split(/ (?=--)/).map((part, index) => (
          <>
            {index === 0 ? "" : " "}
            <span>{part}</span>
          </>
        ))}
      </code>
      <Copy text={line} what={what} />
    </div>
  );
}
