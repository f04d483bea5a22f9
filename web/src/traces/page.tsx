// The Traces page: where the time of workflows went.
import type { JSX } from "preact";
import { Note } from "../ui/panel";

export function Traces(): JSX.Element {
  return (
    <div class="alerts-page" data-testid="page-traces">
      <h1 class="sr">Traces</h1>
      <Note>Reading the traces…</Note>
    </div>
  );
}
