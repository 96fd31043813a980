import { defineConfig } from "tsdown";

export default defineConfig({
  entry: {
    index: "src/index.ts",
    nn: "src/entry/nn.ts",
    training: "src/entry/training.ts",
    data: "src/entry/data.ts",
    "cli/main": "src/cli/main.ts",
    "papers/cell": "src/papers/cell.node.ts",
  },
  format: "esm",
  fixedExtension: false,
  platform: "node",
  target: "node20",
  dts: true,
  clean: true,
  onSuccess: "tsx tools/paper-hashes.ts dist/papers/hashes.json",
});
