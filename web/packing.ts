// What the build does so that little goes over the wire: gzip finds again only what it saw within 32 kB, and a chunk is several times that, so
// functions that are alike are put near each other; and each file is packed once, as small as gzip can be, beside itself, for the bridge to send.
import { gzipSync } from "node:zlib";
import { gzipAsync } from "@gfx/zopfli";
import type { Plugin } from "vite";

const TRIALS = 400;
const WIDEST = 3;
const ITERATIONS = 30;
const GRAM = 10;
const LIKES = 6;
// What nearly every function has says nothing about any of them.
const RARE = 20;

interface Statement {
  readonly type: string;
  readonly start: number;
  readonly end: number;
}

interface Piece {
  readonly text: string;
  readonly moves: boolean;
  // The pieces that share most with it, for their size.
  readonly likes: Piece[];
}

// Only declarations of functions are moved: they are there before anything runs, wherever they stand. What is tried follows from the code alone,
// so the same sources make the same files.
export function nearby(code: string, statements: readonly Statement[]): string {
  let best = piecesOf(code, statements);
  const written = (pieces: readonly Piece[]): string => pieces.map(({ text }) => text).join("\n");
  let least = gzipSync(written(best)).length;
  let seed = 1;
  const below = (limit: number): number => (seed = (seed * 48_271) % 2_147_483_647) % limit;
  for (let trial = 0; trial < TRIALS; trial++) {
    const from = below(best.length);
    const several = best.slice(from, from + 1 + below(WIDEST));
    const fixed = several.findIndex(({ moves }) => !moves);
    const moved = fixed < 0 ? several : several.slice(0, fixed);
    const likes = moved.flatMap((piece) => piece.likes);
    const like = likes[below(likes.length || 1)];
    const rest = best.toSpliced(from, moved.length);
    const to = like === undefined ? -1 : rest.indexOf(like);
    if (to >= 0) {
      const tried = rest.toSpliced(to + below(2), 0, ...moved);
      const size = gzipSync(written(tried)).length;
      if (size < least) {
        least = size;
        best = tried;
      }
    }
  }
  return written(best);
}

function piecesOf(code: string, statements: readonly Statement[]): Piece[] {
  const pieces = statements.map(({ type, start, end }) => ({
    ...{ text: code.slice(start, end), moves: type === "FunctionDeclaration" },
    likes: [] as Piece[],
  }));
  const having = new Map<string, Piece[]>();
  const grams = pieces.map(({ text }) => new Set(Array.from({ length: text.length }, (_none, at) => text.slice(at, at + GRAM))));
  pieces.forEach((piece, index) => grams[index]?.forEach((gram) => having.set(gram, [...(having.get(gram) ?? []), piece])));
  pieces.forEach((piece, index) => {
    const shared = new Map<Piece, number>();
    for (const gram of grams[index] ?? []) {
      const others = having.get(gram) ?? [];
      for (const other of others.length < RARE ? others : []) {
        shared.set(other, (shared.get(other) ?? 0) + 1 / Math.sqrt(other.text.length));
      }
    }
    shared.delete(piece);
    piece.likes.push(
      ...[...shared]
        .sort(([, a], [, b]) => b - a)
        .slice(0, LIKES)
        .map(([other]) => other),
    );
  });
  return pieces;
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
