import { parseAst } from "vite";
import { expect, test } from "vitest";
import { nearby } from "../packing";

const noise = (seed: number): string =>
  Array.from({ length: 1_500 }, (_none, at) => ((seed * (at + 7) ** 2) % 9_973).toString(36)).join("");
const shared = [noise(1_009), noise(2_003), noise(3_001), noise(4_001)];
// Each function has its like 40 kB further on, which is further than gzip looks back.
const code = [
  "const first = 1;",
  ...[0, 1].flatMap((round) => shared.map((text, at) => `function f${at}${round}(){return "${text}${noise(at * 2 + round + 11)}"}`)),
  "const last = first + f00().length;",
  "export { last };",
].join("\n");
const lines = (text: string): readonly string[] => text.split("\n");

test("functions that are alike are put within the reach of gzip, and nothing else is moved", () => {
  const written = nearby(code, parseAst(code).body);
  const at = (name: string): number => written.indexOf(`function ${name}(`);
  expect(written).not.toBe(code);
  expect(lines(written).toSorted()).toEqual(lines(code).toSorted());
  expect(lines(written).filter((line) => !line.startsWith("function"))).toEqual(lines(code).filter((line) => !line.startsWith("function")));
  expect(Math.abs(at("f00") - at("f01"))).toBeLessThan(32 * 1024);
});

test("the same code is always written the same", () => {
  expect(nearby(code, parseAst(code).body)).toBe(nearby(code, parseAst(code).body));
});
