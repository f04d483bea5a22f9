// The shapes that tell states apart without colour, drawn by us because glyphs differ from font to font.
import type { JSX } from "preact";
import type { Look, Shape } from "../core/words";

const fill = (d: string): JSX.Element => <path d={d} fill="currentColor" />;
const stroke = (d: string): JSX.Element => (
  <path d={d} fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" />
);

const SHAPES: Readonly<Record<Shape, JSX.Element>> = {
  dot: <circle cx="6" cy="6" r="4" fill="currentColor" />,
  ring: <circle cx="6" cy="6" r="3.6" fill="none" stroke="currentColor" stroke-width="1.6" />,
  play: fill("M3 1.8 10.4 6 3 10.2z"),
  hold: fill("M2.6 2h2.4v8H2.6zM7 2h2.4v8H7z"),
  check: stroke("M2 6.4 4.8 9.2 10 3.2"),
  cross: stroke("M2.8 2.8l6.4 6.4M9.2 2.8 2.8 9.2"),
  triangle: fill("M6 1.2 11.4 10.6H.6z"),
  diamond: fill("M6 .8 11.2 6 6 11.2.8 6z"),
  rhomb: stroke("M6 1.8 10.2 6 6 10.2 1.8 6z"),
  arrow: stroke("M6 2v7.4M2.8 6.4 6 9.6l3.2-3.2"),
  skip: stroke("M2.4 3 5.4 6l-3 3M6.6 3l3 3-3 3"),
  dash: stroke("M2.4 6h7.2"),
};

export function Mark({ look }: { readonly look: Pick<Look, "tone" | "shape"> }): JSX.Element {
  return (
    <svg class={`mark tone-${look.tone}`} viewBox="0 0 12 12" aria-hidden="true">
      {SHAPES[look.shape]}
    </svg>
  );
}

export type Icon =
  | "pause"
  | "resume"
  | "cancel"
  | "retry"
  | "close"
  | "copy"
  | "monitoring"
  | "workflows"
  | "alerts"
  | "agents"
  | "platform"
  | "events"
  | "traces"
  | "drain"
  | "activate"
  | "restart"
  | "resize"
  | "keys"
  | "system"
  | "dark"
  | "light"
  | "wheel";

const RESUME = fill("M5 3.2 12.4 8 5 12.8z");
const AGAIN = stroke("M12.6 6.6A5 5 0 1 0 13 9.2M12.9 3v3.7H9.2");

const ICONS: Readonly<Record<Icon, JSX.Element>> = {
  pause: fill("M4.5 3.5h2.4v9H4.5zM9.1 3.5h2.4v9H9.1z"),
  resume: RESUME,
  activate: RESUME,
  cancel: fill("M4 4h8v8H4z"),
  retry: AGAIN,
  restart: AGAIN,
  drain: stroke("M8 2.5v7.5M4.8 7 8 10.2 11.2 7M3 13.5h10"),
  resize: stroke("M2.5 8h11M5 5.5 2.5 8 5 10.5M11 5.5 13.5 8 11 10.5"),
  close: stroke("M4 4l8 8M12 4l-8 8"),
  copy: stroke("M6 5.5h6.5v8H6zM3.5 10.5v-8H10"),
  monitoring: stroke("M2 12.5h12M3.5 9.5l3-3.5 2.5 2 3.5-5"),
  workflows: stroke("M2.5 4h11M2.5 8h11M2.5 12h7"),
  agents: stroke("M2.5 2.5h4v4h-4zM9.5 2.5h4v4h-4zM2.5 9.5h4v4h-4zM9.5 9.5h4v4h-4z"),
  events: stroke("M2.5 3.5h.1M5.5 3.5h8M2.5 8h.1M5.5 8h8M2.5 12.5h.1M5.5 12.5h5"),
  traces: stroke("M2 3.5h7M5 8h5.5M9 12.5h5"),
  platform: stroke("M2 4.5h6M12 4.5h2M2 11.5h2M8 11.5h6M8 2.7h4v3.6H8zM4 9.7h4v3.6H4z"),
  alerts: stroke("M8 2.2 14.2 13H1.8zM8 6.4v3M8 11.2v.1"),
  keys: stroke("M2 4h12v8H2zM4.5 6.6h.1M7 6.6h.1M9.5 6.6h.1M12 6.6h-.1M5 9.6h6"),
  system: (
    <>
      <circle cx="8" cy="8" r="5.6" fill="none" stroke="currentColor" stroke-width="1.5" />
      {fill("M8 2.4a5.6 5.6 0 0 1 0 11.2z")}
    </>
  ),
  dark: stroke("M12.8 9.8A5.4 5.4 0 0 1 6.2 3.2a5.4 5.4 0 1 0 6.6 6.6z"),
  light: stroke(
    "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.4v1.2M8 13.4v1.2M1.4 8h1.2M13.4 8h1.2M3.3 3.3l.9.9M11.8 11.8l.9.9M12.7 3.3l-.9.9M4.2 11.8l-.9.9",
  ),
  wheel: stroke(
    "M8 3.6a4.4 4.4 0 1 0 0 8.8 4.4 4.4 0 0 0 0-8.8zM8 1v5.4M8 9.6V15M1 8h5.4M9.6 8H15M3 3l3.9 3.9M9.1 9.1 13 13M13 3 9.1 6.9M6.9 9.1 3 13",
  ),
};

export function Picture({ icon }: { readonly icon: Icon }): JSX.Element {
  return (
    <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
      {ICONS[icon]}
    </svg>
  );
}
