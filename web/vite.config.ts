import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const OUT = "../controlplane/console/static";

/** Compress once at build time; the API sends the `.gz` beside a file to browsers that take it. */
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    closeBundle() {
      for (const entry of readdirSync(OUT, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || !/\.(js|css|html|svg)$/.test(entry.name)) continue;
        const path = join(entry.parentPath, entry.name);
        writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  plugins: [react(), compressed()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    // The policy allows data addresses for images only, so nothing is inlined.
    assetsInlineLimit: 0,
    target: "es2023",
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.md" },
  },
  server: {
    // `npm run dev` beside a running API: the same origin for cookies and the stream.
    proxy: Object.fromEntries(
      ["/v1"].map((path) => [path, process.env.RINGFENCE_API_URL ?? "http://127.0.0.1:8400"]),
    ),
  },
});
