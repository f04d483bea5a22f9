// Which rows are chosen for an act on many: by ids, so that a choice outlives the page of the list that it was made on.
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { signal } from "@preact/signals";

export class Selection {
  readonly ids = signal<ReadonlySet<string>>(new Set());
  #anchor = "";

  // With `extend` all from the one that was touched last become what this one becomes.
  toggle(id: string, extend: boolean, order: readonly string[]): void {
    const chosen = new Set(this.ids.peek());
    const add = !chosen.has(id);
    const [from, to] = [order.indexOf(this.#anchor), order.indexOf(id)];
    const touched = extend && from >= 0 && to >= 0 ? order.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    for (const each of touched) {
      if (add) {
        chosen.add(each);
      } else {
        chosen.delete(each);
      }
    }
    this.#anchor = id;
    this.ids.value = chosen;
  }

  set(ids: readonly string[]): void {
    this.#anchor = "";
    this.ids.value = new Set(ids);
  }
}

export const SelectionContext = createContext<Selection>(new Selection());
export const useSelection = (): Selection => useContext(SelectionContext);
