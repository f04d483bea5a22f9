// Canvases cannot use custom properties, so the tokens are read where the browser has resolved them for the theme in use.
export type Token =
  | "text"
  | "text-faint"
  | "text-weak"
  | "line-strong"
  | "line"
  | "grid"
  | "panel"
  | "raised"
  | "accent-ground"
  | "notice"
  | "unknown"
  | "warning"
  | "critical"
  | "good"
  | "accent"
  | "series-1"
  | "series-2"
  | "series-3"
  | "series-error"
  | "series-1-fill"
  | "series-error-fill";

let probe: HTMLElement | undefined;

export function colourOf(token: Token): string {
  if (probe === undefined) {
    probe = document.createElement("span");
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(--${token})`;
  return getComputedStyle(probe).color;
}

export function fontOf(): string {
  const style = getComputedStyle(document.documentElement);
  return `${style.getPropertyValue("--size-small").trim()} ${style.getPropertyValue("--sans").trim()}`;
}
