// What the build does so that little goes over the wire: gzip finds again only what it saw within 32 kB, and a chunk is several times that, so
// functions that are alike are put near each other; and each file is packed once, as small as gzip can be, beside itself, for the bridge to send.
import { gzipSync } from "node:zlib";
import { gzipAsync } from "@gfx/zopfli";
import type { Plugin } from "vite";

const TRIALS = 1_000;
const WIDEST = 12;
const ITERATIONS = 30;

interface Statement {
  readonly type: string;
  readonly start: number;
  readonly end: number;
}

// Only declarations of functions are moved: they are there before anything runs, wherever they stand. What is tried follows from the code alone,
// so the same sources make the same files.
export function nearby(code: string, statements: readonly Statement[]): string {
  let best = statements.map(({ type, start, end }) => ({ moves: type === "FunctionDeclaration", text: code.slice(start, end) }));
  const written = (parts: typeof best): string => parts.map(({ text }) => text).join("\n");
  let least = gzipSync(written(best)).length;
  let seed = 1;
  const below = (limit: number): number => (seed = (seed * 48_271) % 2_147_483_647) % limit;
  for (let trial = 0; trial < TRIALS; trial++) {
    const from = below(best.length);
    const several = best.slice(from, from + 1 + below(WIDEST));
    const fixed = several.findIndex(({ moves }) => !moves);
    const moved = fixed < 0 ? several : several.slice(0, fixed);
    const rest = best.toSpliced(from, moved.length);
    const tried = rest.toSpliced(below(rest.length + 1), 0, ...moved);
    const size = moved.length === 0 ? least : gzipSync(written(tried)).length;
    if (size < least) {
      least = size;
      best = tried;
    }
  }
  return written(best);
}

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
          if (file.type === "chunk") {
            file.code = nearby(file.code, this.parse(file.code).body);
          }
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
