import { defineConfig, type UserConfig } from "tsdown";
import { withoutTrials } from "./tools/without-trials.ts";

const common: UserConfig = { format: "esm", fixedExtension: false, target: "node20", dts: true };

/** For browsers: everything inside, the tokenizer's library in a chunk of its own. */
export const runtime: UserConfig = {
  ...common,
  entry: { runtime: "src/entry/runtime.ts" },
  platform: "browser",
  target: "es2022",
  deps: { alwaysBundle: /.*/, neverBundle: /^node:/, onlyBundle: false },
  minify: true,
  plugins: [withoutTrials],
};

export default defineConfig([
  {
    ...common,
    entry: {
      index: "src/index.ts",
      nn: "src/entry/nn.ts",
      training: "src/entry/training.ts",
      data: "src/entry/data.ts",
      "cli/main": "src/cli/main.ts",
      "papers/cell": "src/papers/cell.node.ts",
    },
    platform: "node",
    clean: true,
    onSuccess: "tsx tools/paper-hashes.ts dist/papers/hashes.json",
  },
  { ...runtime, outDir: "dist/web", clean: true },
]);
