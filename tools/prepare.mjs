// Before `npm start`: installs what is missing and builds what is older than its source. Plain Node, nothing installed.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const npm = process.platform === "win32" ? "npm.cmd" : "npm";

function run(...args) {
  console.error(`> npm ${args.join(" ")}`);
  // npm's own words go to stderr, so that a command's stdout stays its own.
  const { status, error } = spawnSync(npm, args, { stdio: ["ignore", 2, 2], shell: process.platform === "win32" });
  if (error || status !== 0) {
    console.error(
      `npm ${args.join(" ")} failed${error ? `: ${error.message}` : ""}. Check the network and the free disk, then run it again.`,
    );
    process.exit(1);
  }
}

function newest(path) {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name))));
}

const stamp = join("node_modules", ".package-lock.json");
if (!existsSync(stamp) || statSync(stamp).mtimeMs < statSync("package-lock.json").mtimeMs - 1000) run("ci");
const built = join("dist", "cli", "main.js");
if (!existsSync(built) || newest("src") > statSync(built).mtimeMs) run("run", "--silent", "build");
