// A page that is loaded when it is first opened, so that the first view waits for nothing that it does not show.
import { useSignal } from "@preact/signals";
import type { FunctionComponent, JSX } from "preact";
import { useEffect } from "preact/hooks";
import { Note } from "./panel";

// Until it is there, a note stands in its place, in what it will lie in.
export function later<P extends object>(load: () => Promise<FunctionComponent<P>>, name: string, box = ""): FunctionComponent<P> {
  let loaded: FunctionComponent<P> | undefined;
  return function Later(props: P): JSX.Element {
    const tries = useSignal(0);
    const failed = useSignal(false);
    const ready = useSignal(loaded !== undefined);
    useEffect(() => {
      if (loaded === undefined) {
        failed.value = false;
        load().then(
          (made) => {
            loaded = made;
            ready.value = true;
          },
          () => (failed.value = true),
        );
      }
    }, [tries.value]);
    if (ready.value && loaded !== undefined) {
      const Ready = loaded;
      return <Ready {...props} />;
    }
    return (
      <div class={box}>
        {failed.value ? (
          <Note tone="critical">
            The page for {name} could not be loaded.{" "}
            <button type="button" class="link" onClick={() => tries.value++}>
              Try again
            </button>
          </Note>
        ) : (
          <Note>Loading {name}…</Note>
        )}
      </div>
    );
  };
}
