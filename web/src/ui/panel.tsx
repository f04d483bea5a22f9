// A panel knows the channel that it shows: it says how old it is, and greys when that is too old.
import type { ComponentChildren, JSX } from "preact";
import { age, exactTime, when } from "../core/format";
import type { Tone } from "../core/words";
import { useStores } from "./context";
import { Mark } from "./mark";

export function Age({ channel, testId }: { readonly channel: string; readonly testId?: string }): JSX.Element {
  const { connection } = useStores();
  const ms = connection.ageOf(channel);
  const old = connection.isStale(channel);
  return (
    <span class={old ? "age old" : "age"} data-testid={testId} title={ms === undefined ? "Nothing has arrived yet" : "How old this is"}>
      {ms === undefined ? "waiting" : `${age(ms)}${old ? " old" : ""}`}
    </span>
  );
}

// An age relative to now, the exact time on hover.
export function Since({ at, ago = true }: { readonly at: number | undefined; readonly ago?: boolean }): JSX.Element | null {
  const { clock } = useStores();
  if (at === undefined) {
    return null;
  }
  return (
    <time dateTime={new Date(at).toISOString()} title={exactTime(at)}>
      {age(clock.now.value - at)}
      {ago ? " ago" : ""}
    </time>
  );
}

// A time as people say it, the exact one on hover.
export function When({ at, class: name }: { readonly at: number | undefined; readonly class?: string }): JSX.Element {
  const { clock } = useStores();
  return at === undefined ? (
    <>–</>
  ) : (
    <time class={name} title={exactTime(at)}>
      {when(at, clock.serverNow())}
    </time>
  );
}

interface PanelProps {
  readonly title: string;
  readonly channel?: string;
  readonly aside?: ComponentChildren;
  readonly class?: string;
  readonly testId: string;
  readonly children: ComponentChildren;
}

export function Panel(props: PanelProps): JSX.Element {
  const { connection } = useStores();
  const stale = props.channel !== undefined && connection.isStale(props.channel);
  return (
    <section
      class={`panel ${props.class ?? ""} ${stale ? "stale" : ""}`}
      data-testid={props.testId}
      data-stale={stale}
      aria-label={props.title}
    >
      <header>
        <h2>{props.title}</h2>
        <div class="aside">
          {props.aside}
          {props.channel === undefined ? null : <Age channel={props.channel} />}
        </div>
      </header>
      {props.children}
    </section>
  );
}

interface NoteProps {
  readonly tone?: Tone;
  readonly children: ComponentChildren;
  readonly bar?: boolean;
}

// A sentence in place of data: what is so, and what to do.
export function Note({ tone, children, bar }: NoteProps): JSX.Element {
  const shape = tone === "good" ? "check" : tone === "critical" ? "triangle" : "diamond";
  return (
    <p class={bar === true ? "note bar" : "note"}>
      {tone === undefined ? null : <Mark look={{ tone, shape }} />}
      <span>{children}</span>
    </p>
  );
}
