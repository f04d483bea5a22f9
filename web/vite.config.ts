// The dashboard is shipped inside a wheel and opened on bad networks, so its size is a rule of the build: over a limit, it fails.
import { gzipSync } from "node:zlib";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

const LIMIT_KB = 105;
const bridge = process.env["PILOTHOUSE_BRIDGE_URL"] ?? "http://127.0.0.1:8080";

function sizeReport(limitKb: number): Plugin {
  return {
    name: "size-report",
    apply: "build",
    generateBundle: {
      order: "post",
      handler(_options, bundle) {
        let total = 0;
        const lines: string[] = [];
        for (const [name, file] of Object.entries(bundle)) {
          const bytes = gzipSync(file.type === "chunk" ? file.code : file.source, { level: 9 }).length;
          total += bytes;
          lines.push(`  ${name.padEnd(36)} ${(bytes / 1000).toFixed(1).padStart(7)} kB gzip`);
        }
        lines.push(`  ${"total".padEnd(36)} ${(total / 1000).toFixed(1).padStart(7)} kB gzip of ${limitKb}`);
        console.log(lines.join("\n"));
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
  plugins: [plainImports(), sizeReport(LIMIT_KB)],
  // h("p", { class }, child) says the same as jsx("p", { class, children: [child] }) in fewer words.
  oxc: {
    jsx: { runtime: "classic", pragma: "jsxElement", pragmaFrag: "JsxFragment" },
    jsxInject: 'import { h as jsxElement, Fragment as JsxFragment } from "preact"',
  },
  // Data URLs and inline scripts would need holes in the content security policy.
  build: { target: "es2023", assetsInlineLimit: 0, cssCodeSplit: false, modulePreload: { polyfill: false } },
  // During development the bridge is a separate process: its paths are passed on to it.
  server: { proxy: { "/ws": { target: bridge, ws: true }, "/pilothouse.v1.": bridge } },
  test: { include: ["tests/**/*.test.ts"] },
});
