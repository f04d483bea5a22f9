// A button for an act on the fleet. It is never hidden by a refusal and never silently dead: the reason is its tooltip. All acts lock
// together while what is shown may be old.
import type { ComponentChildren, JSX } from "preact";
import { useStores } from "./context";

interface ActProps {
  readonly testId: string;
  // Why it cannot be done now; empty when it can.
  readonly refused: string;
  readonly hint: string;
  readonly onClick: () => void;
  readonly class?: string;
  readonly label?: string | undefined;
  readonly children: ComponentChildren;
}

export function Act(props: ActProps): JSX.Element {
  const { connection } = useStores();
  const reason = connection.lock.value || props.refused;
  const click = (event: MouseEvent): void => {
    event.stopPropagation();
    if (reason === "") {
      props.onClick();
    }
  };
  return (
    <button
      type="button"
      class={`button act ${props.class ?? ""}`}
      onClick={click}
      aria-disabled={reason !== ""}
      aria-label={props.label}
      title={reason === "" ? props.hint : reason}
      data-testid={props.testId}
    >
      {props.children}
    </button>
  );
}
