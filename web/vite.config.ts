// The dashboard is shipped inside a wheel and opened on bad networks, so its size is a rule of the build: over a limit, it fails.
import { gzipAsync } from "@gfx/zopfli";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const LIMIT_KB = 105;
// The first of each that know light-dark(), which the colours are made of; written for older ones, the styles would be longer, not better.
const TARGET = ["chrome123", "firefox121", "safari17.5"];
const bridge = process.env["PILOTHOUSE_BRIDGE_URL"] ?? "http://127.0.0.1:8080";

// Each file is packed once, as small as gzip can be, and lies beside the file; the bridge sends it to every browser as it is. So what is counted
// here is what is sent.
function packed(limitKb: number): Plugin {
  return {
    name: "packed",
    apply: "build",
    generateBundle: {
      order: "post",
      async handler(_options, bundle) {
        let total = 0;
        for (const [name, file] of Object.entries(bundle)) {
          const source = await gzipAsync(Buffer.from(file.type === "chunk" ? file.code : file.source), { numiterations: 30 });
          this.emitFile({ type: "asset", fileName: `${name}.gz`, source });
          total += source.length;
          console.log(`  ${name.padEnd(36)} ${(source.length / 1000).toFixed(1).padStart(7)} kB gzip`);
        }
        console.log(`  ${"total".padEnd(36)} ${(total / 1000).toFixed(1).padStart(7)} kB gzip of ${limitKb}`);
        if (total > limitKb * 1000) {
          this.error(`the dashboard is ${(total / 1000).toFixed(1)} kB gzip; the limit is ${limitKb} kB`);
        }
      },
    },
  };
}

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
  build: { target: TARGET, assetsInlineLimit: 0, cssCodeSplit: false, modulePreload: { polyfill: false }, reportCompressedSize: false },
  // During development the bridge is a separate process: its paths are passed on to it.
  server: { proxy: { "/ws": { target: bridge, ws: true }, "/pilothouse.v1.": bridge } },
  test: { include: ["tests/**/*.test.ts"] },
});
