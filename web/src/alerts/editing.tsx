// The sheet in which a channel, an escalation or a heartbeat is made, changed or deleted.
import { useSignal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useStores } from "../ui/context";
import { Note } from "../ui/panel";
import { Confirm } from "../ui/confirm";
import { Submit, Wrong } from "../ui/form";
import { type List, type Task, useTask } from "../ui/lists";
import { Side } from "../ui/side";

interface EditingProps<T> {
  readonly kind: string;
  // Of the field of the request that holds it.
  readonly at: string;
  readonly id: string;
  readonly list: List<T>;
  readonly found: T | undefined;
  readonly name: string;
  readonly obstacle: string;
  readonly save: () => Promise<unknown>;
  // What keeps why it was deleted has a command line that says it too.
  readonly remove: (reason: string) => Promise<unknown>;
  readonly removeCli?: (reason: string) => string;
  readonly effect: string;
  readonly beside?: ComponentChildren;
  readonly children: ComponentChildren;
}

export function Editing<T>(props: EditingProps<T>): JSX.Element {
  const { kind, at, id, list, found, name, obstacle, beside } = props;
  const { route, messages } = useStores();
  const task: Task = useTask();
  const deleting = useSignal(false);
  const title = id === "" ? `New ${kind}` : name;
  const over = (words: string): void => {
    messages.say("good", words);
    list.refresh();
    route.go({ open: "" });
  };
  if (id !== "" && found === undefined) {
    const view = list.view.value;
    return (
      <Side title={title || kind} label={kind} testId={`${kind}-form`}>
        {view.at === undefined ? <Note>Reading…</Note> : <Note tone="warning">There is no such {kind} any more.</Note>}
      </Side>
    );
  }
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (await task.run(props.save)) {
      over(id === "" ? `The ${kind} is made` : `${name} changed`);
    }
  };
  return (
    <Side title={title} label={title} testId={`${kind}-form`}>
      <Wrong.Provider value={{ at, violations: task.view.value.violations }}>
        <form class="stack" onSubmit={(event) => void submit(event)}>
          {props.children}
          {task.view.value.violations.map((each) => (
            <p key={each.field} class="wrong">
              {each.field.replace(`${at}.`, "")}: {each.description}
            </p>
          ))}
          <div class="acts">
            {id === "" ? null : (
              <button type="button" class="button danger" onClick={() => (deleting.value = true)} data-testid={`${kind}-delete`}>
                Delete
              </button>
            )}
            <span class="grow" />
            {beside}
            <Submit task={task} obstacle={obstacle} testId={`${kind}-save`}>
              {id === "" ? `Make ${kind}` : "Save"}
            </Submit>
          </div>
        </form>
      </Wrong.Provider>
      {deleting.value ? (
        <Confirm
          title={`Delete “${name}”?`}
          label={`Delete ${kind}`}
          done={`${name} deleted`}
          word={name}
          reasoned={props.removeCli !== undefined}
          cli={props.removeCli}
          act={props.remove}
          close={(done) => {
            deleting.value = false;
            if (done) {
              list.refresh();
              route.go({ open: "" });
            }
          }}
        >
          {props.effect}
        </Confirm>
      ) : null}
    </Side>
  );
}
