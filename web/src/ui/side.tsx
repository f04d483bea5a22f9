// The sheet beside a page: it takes the focus, gives it back, and its parts are told apart by headings.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useStores } from "./context";
import { Picture } from "./mark";

interface SideProps {
  readonly title: ComponentChildren;
  readonly label: string;
  readonly testId: string;
  readonly wide?: boolean;
  // Beside the title.
  readonly aside?: ComponentChildren;
  // Further attributes, as data-state.
  readonly marks?: Readonly<Record<`data-${string}`, string>>;
  readonly children: ComponentChildren;
}

export function Side({ title, label, testId, wide = false, marks = {}, aside, children }: SideProps): JSX.Element {
  const { route } = useStores();
  const box = useRef<HTMLElement>(null);
  useEffect(() => {
    const opener = document.activeElement;
    box.current?.focus();
    return () => {
      if (opener instanceof HTMLElement && opener.isConnected) {
        opener.focus();
      }
    };
  }, []);
  return (
    <section class={`sheet ${wide ? "wide" : ""}`} ref={box} tabIndex={-1} role="dialog" aria-label={label} data-testid={testId} {...marks}>
      <div class="head">
        <h2 class="cut">{title}</h2>
        {aside}
        <button
          type="button"
          class="button icon"
          onClick={() => route.go({ open: "" })}
          aria-label="Close"
          title="Close (Esc)"
          data-testid="sheet-close"
        >
          <Picture icon="close" />
        </button>
      </div>
      <div class="body">{children}</div>
    </section>
  );
}

export function Part({
  title,
  count,
  testId,
  children,
}: {
  readonly title: string;
  readonly count?: number | string | undefined;
  readonly testId?: string;
  readonly children: ComponentChildren;
}): JSX.Element {
  return (
    <section class="part" data-testid={testId}>
      <h3>
        {title} <span class="faint">{count}</span>
      </h3>
      {children}
    </section>
  );
}
