// The URL as a signal. A change of view makes a history entry; typing in a filter replaces the one that is there.
import { computed, signal } from "@preact/signals";
import { HOME, type Route, formatRoute, moved, parseRoute } from "../core/route";

export class RouteStore {
  readonly route = signal<Route>(HOME);
  readonly page = computed(() => this.route.value.page);
  readonly tab = computed(() => this.route.value.tab);
  readonly open = computed(() => this.route.value.open);
  // The workflow that is open, beside a page or as a page of its own; "" is none.
  readonly workflow = computed(() => {
    const { page, tab, open } = this.route.value;
    const shown = page === "monitoring" || (page === "workflows" && tab !== "batches");
    return shown && !open.startsWith(":") ? open : "";
  });
  readonly span = computed(() => this.route.value.span);
  readonly zoom = computed(() => this.route.value.zoom);
  readonly order = computed(() => this.route.value.order);
  readonly filter = computed(() => this.route.value.filter);
  readonly state = computed(() => this.route.value.state);
  // The same object until the range itself changes, so that a filter does not reload the charts.
  readonly range = computed(() => this.#sameRange(this.route.value));
  #range = HOME.range;

  listen(): () => void {
    const read = (): void => {
      this.route.value = parseRoute(location.hash);
    };
    read();
    addEventListener("hashchange", read);
    addEventListener("popstate", read);
    return () => {
      removeEventListener("hashchange", read);
      removeEventListener("popstate", read);
    };
  }

  go(change: Partial<Route>): void {
    this.#set(change, "push");
  }

  refine(change: Partial<Route>): void {
    this.#set(change, "replace");
  }

  href(change: Partial<Route>): string {
    return formatRoute(moved(this.route.value, change));
  }

  #set(change: Partial<Route>, how: "push" | "replace"): void {
    const next = moved(this.route.peek(), change);
    const url = formatRoute(next);
    if (url !== formatRoute(this.route.peek())) {
      if (how === "push") {
        history.pushState(null, "", url);
      } else {
        history.replaceState(null, "", url);
      }
    }
    this.route.value = next;
  }

  #sameRange(route: Route): Route["range"] {
    if (JSON.stringify(route.range) !== JSON.stringify(this.#range)) {
      this.#range = route.range;
    }
    return this.#range;
  }
}
