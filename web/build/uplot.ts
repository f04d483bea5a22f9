// uPlot hangs every way to draw a series on its default export, so a bundler keeps them all. This page draws lines; without the others they go.
import type { Plugin } from "vite";

const UNUSED = /^\s*(?:\(paths\.(?:stepped|bars|spline)\s*= \w+\)|uPlot\.(?:join|rangeAsinh|addGap|clipGaps|tzDate|fmtDate)\s*= \w+);$/gm;
const LEAST = 6;

export function leanPlot(): Plugin {
  return {
    name: "lean-uplot",
    apply: "build",
    transform: {
      filter: { id: /uPlot\.esm\.js$/ },
      handler(code) {
        const found = code.match(UNUSED)?.length ?? 0;
        if (found < LEAST) {
          this.error(`uPlot is put together in another way than ${LEAST} of these lines: ${UNUSED.source}`);
        }
        return { code: code.replace(UNUSED, ""), map: null };
      },
    },
  };
}
