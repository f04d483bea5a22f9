// Colours are read from the style sheet itself: text at least 4.5:1, marks at least 3:1, in both themes; and no colour anywhere else.
import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";

const here = new URL("../src/", import.meta.url);
const tokens = readFileSync(new URL("styles/tokens.css", here), "utf8");
const pairs = new Map(
  [...tokens.matchAll(/--([\w-]+): light-dark\((#[\da-f]{6})[\da-f]{0,2}, (#[\da-f]{6})[\da-f]{0,2}\)/g)].map((found) => [
    found[1] ?? "",
    [found[2] ?? "", found[3] ?? ""] as const,
  ]),
);

function luminance(hex: string): number {
  const channel = (at: number): number => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5);
}

function contrast(front: string, back: string, theme: 0 | 1): number {
  const [a, b] = [front, back].map((name) => luminance(pairs.get(name)?.[theme] ?? "#808080"));
  return (Math.max(a ?? 0, b ?? 0) + 0.05) / (Math.min(a ?? 0, b ?? 0) + 0.05);
}

describe.each([
  ["light", 0],
  ["dark", 1],
] as const)("the %s theme", (_name, theme) => {
  const texts = ["text", "text-weak", "text-faint", "accent", "good", "notice", "warning", "critical", "unknown"];
  it.each(texts.flatMap((text) => ["ground", "panel", "raised"].map((ground) => [text, ground] as const)))(
    "%s can be read on %s",
    (text, ground) => {
      expect(contrast(text, ground, theme)).toBeGreaterThanOrEqual(4.5);
    },
  );

  it.each(["line-strong", "series-1", "series-2", "series-3", "series-error"])("%s can be seen on a panel", (mark) => {
    expect(contrast(mark, "panel", theme)).toBeGreaterThanOrEqual(3);
  });

  it("has readable words on its filled buttons", () => {
    expect(contrast("on-accent", "accent", theme)).toBeGreaterThanOrEqual(4.5);
    expect(contrast("panel", "critical", theme)).toBeGreaterThanOrEqual(4.5);
    expect(contrast("text", "accent-ground", theme)).toBeGreaterThanOrEqual(4.5);
  });
});

it("no colour is written outside of tokens.css", () => {
  const files = readdirSync(here, { recursive: true, encoding: "utf8" }).filter(
    (name) => /\.(css|tsx?)$/.test(name) && !name.startsWith("gen") && !name.endsWith("tokens.css"),
  );
  const guilty = files.filter((name) => /#[\da-f]{3,8}\b|\brgba?\(|\bhsla?\(/i.test(readFileSync(new URL(name, here), "utf8")));
  expect(files.length).toBeGreaterThan(30);
  expect(guilty).toEqual([]);
});
