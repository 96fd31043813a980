// Prints the closing line from vitest's JSON report; the exit code is 1 when anything failed or nothing ran.
import { readFileSync } from "node:fs";

const [path, status] = process.argv.slice(2);
let passed = 0;
let failed = 0;
let skipped = 0;
try {
  const report = JSON.parse(readFileSync(path, "utf8"));
  passed = report.numPassedTests;
  failed = report.numFailedTests + report.testResults.filter((f) => f.status === "failed" && f.assertionResults.length === 0).length;
  skipped = report.numPendingTests + report.numTodoTests;
} catch (error) {
  console.error(`no test report: ${error.message}`);
}
if ((status !== "0" || passed === 0) && failed === 0) failed = 1;
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
