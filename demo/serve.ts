/** Builds the demo and serves it on this machine: `npm run demo`. `--plain` leaves out the headers that allow threads. */
import { copyFile, mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "tsdown";
import { serve } from "../src/entry/serve.node.ts";
import { withoutTrials } from "../tools/without-trials.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Bundles page and worker into a folder. */
export async function buildDemo(out: string): Promise<void> {
  await mkdir(out, { recursive: true });
  await build({
    config: false,
    cwd: root,
    entry: { page: "demo/page.ts", worker: "demo/worker.ts" },
    outDir: out,
    format: "esm",
    fixedExtension: false,
    platform: "browser",
    target: "es2022",
    deps: { alwaysBundle: /.*/, neverBundle: /^node:/, onlyBundle: false },
    plugins: [withoutTrials],
    dts: false,
    clean: false,
    logLevel: "silent",
    report: false,
  });
  await copyFile(`${root}/demo/index.html`, `${out}/index.html`);
}

if (process.argv[1]?.endsWith("serve.ts")) {
  const out = `${root}/out/demo`;
  await buildDemo(out);
  const isolated = !process.argv.includes("--plain");
  const server = await serve({ demo: out, models: `${root}/models` }, { isolated, port: 8147 }).catch(() =>
    serve({ demo: out, models: `${root}/models` }, { isolated }),
  );
  console.log(`${server.address}/demo/index.html (Ctrl-C ends it)`);
}
