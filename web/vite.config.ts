import { defineConfig } from "vite";

// During development the bridge is a separate process: its own paths are passed on to it.
const bridge = process.env["PILOTHOUSE_BRIDGE_URL"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  build: {
    target: "es2023",
    outDir: "dist",
    emptyOutDir: true,
    // Everything the page needs is served by the bridge itself; nothing is inlined, so that a strict
    // Content-Security-Policy holds.
    assetsInlineLimit: 0,
  },
  server: {
    proxy: {
      "/api": bridge,
      "/ws": { target: bridge, ws: true },
    },
  },
});
