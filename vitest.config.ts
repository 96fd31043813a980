import { defineConfig } from "vitest/config";

const json = process.env.LACUNA_TEST_JSON;

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "tools/**/*.test.ts", "examples/**/*.test.ts"],
    testTimeout: 60_000,
    pool: "forks",
    maxWorkers: 2,
    reporters: json ? ["default", ["json", { outputFile: json }]] : ["default"],
  },
});
