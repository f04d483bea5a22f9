// Each file is packed once at the build, as small as gzip can be, beside itself, for the bridge to send.
import { gzipAsync } from "@gfx/zopfli";
import type { Plugin } from "vite";

const ITERATIONS = 30;

// What is counted is what a browser receives. Over the limit, the build fails.
export function packed(limitKb: number): Plugin {
  return {
    name: "packed",
    apply: "build",
    generateBundle: {
      order: "post",
      async handler(_options, bundle) {
        let total = 0;
        for (const [name, file] of Object.entries(bundle)) {
          const source = await gzipAsync(Buffer.from(file.type === "chunk" ? file.code : file.source), { numiterations: ITERATIONS });
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
