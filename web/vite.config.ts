// The dashboard is shipped inside a wheel and opened on bad networks, so its size is a rule of the build: over a limit, it fails.
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";
import { packed } from "./packing.ts";

const LIMIT_KB = 128;
// The first of each that know light-dark(), which the colours are made of; written for older ones, the styles would be longer, not better.
const TARGET = ["chrome123", "firefox121", "safari17.5"];
const bridge = process.env["PILOTHOUSE_BRIDGE_URL"] ?? "http://127.0.0.1:8080";

// All styles are in one file, so a page that is loaded later needs nothing before its code, and nothing that would load it.
function plainImports(): Plugin {
  return {
    name: "plain-imports",
    apply: "build",
    enforce: "pre",
    load: (id) => (id === "\0vite/preload-helper.js" ? "export const __vitePreload = (load) => load();" : undefined),
  };
}

export default defineConfig({
  base: "./",
  plugins: [plainImports(), packed(LIMIT_KB)],
  // h("p", { class }, child) says the same as jsx("p", { class, children: [child] }) in fewer words.
  oxc: {
    jsx: { runtime: "classic", pragma: "jsxElement", pragmaFrag: "JsxFragment" },
    jsxInject: 'import { h as jsxElement, Fragment as JsxFragment } from "preact"',
  },
  // Data URLs and inline scripts would need holes in the content security policy. What is packed already need not be packed again to say so.
  build: {
    ...{ target: TARGET, assetsInlineLimit: 0, cssCodeSplit: false, modulePreload: { polyfill: false }, reportCompressedSize: false },
    rolldownOptions: { optimization: { inlineConst: { mode: "all", pass: 2 } } },
  },
  // During development the bridge is a separate process: its paths are passed on to it.
  server: { proxy: { "/ws": { target: bridge, ws: true }, "/pilothouse.v1.": bridge } },
  // A test takes milliseconds, but may be held up by all else that a machine does.
  test: { include: ["tests/**/*.test.ts"], testTimeout: 30_000 },
});
