/** What a command leaves behind when it is stopped in the middle, and when the disk is full. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isTemporaryName } from "../formats/temporary.ts";
import { type Driver, drive, type Running, type Said, someText, textFile } from "./drive.ts";

let cli: Driver;

beforeAll(async () => {
  cli = await drive();
  cli.randomModel("tiny");
}, 120_000);

afterAll(() => cli?.dispose());

const hidden = (): string[] => readdirSync(cli.folder).filter((name) => name.startsWith("."));

/** Waits until `seen` holds or the command has ended; tells which. */
async function until(seen: () => boolean, { said }: Running): Promise<boolean> {
  let ended = false;
  said.then(() => {
    ended = true;
  });
  while (!ended && !seen()) await new Promise((resolve) => setTimeout(resolve, 2));
  return seen();
}

describe("prune stopped in the middle", () => {
  const PRUNE = [
    "prune",
    "tiny",
    "--method",
    "sparsegpt",
    "--sparsity",
    "0.5",
    "--calibrate",
    textFile("calibration-32k"),
  ];

  test.each(["SIGINT", "SIGTERM"] as const)("by %s: exit code 130, no folder, no temporary", async (signal) => {
    const running = cli.start(...PRUNE, "-o", "stopped");
    expect(await until(() => hidden().some(isTemporaryName), running)).toBe(true);
    running.child.kill(signal);
    const said: Said = await running.said;
    expect(said.stderr).toMatch(/stopped; nothing half-written was left behind\n$/);
    expect({ code: said.code, stdout: said.stdout }).toEqual({ code: 130, stdout: "" });
    expect(readdirSync(cli.folder)).not.toContain("stopped");
    expect(hidden()).toEqual([]);
  });

  test("by SIGKILL: what is left is refused as a model, and tidied away by the next run", async () => {
    const running = cli.start(...PRUNE, "-o", "killed");
    expect(await until(() => hidden().some(isTemporaryName), running)).toBe(true);
    running.child.kill("SIGKILL");
    expect(await running.said).toMatchObject({ code: null, signal: "SIGKILL" });
    expect(existsSync(join(cli.folder, "killed"))).toBe(false);
    const [left] = hidden();
    const refused = await cli.run("inspect", left);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/expected: a finished model folder\n.*a temporary one/);

    const next = await cli.run("prune", "tiny", "--method", "magnitude", "--sparsity", "0.5", "-o", "killed");
    expect(next.code).toBe(0);
    expect(hidden()).toEqual([]);
    expect((await cli.run("inspect", "killed")).code).toBe(0);
  });
});

test("eval stopped in the middle: exit code 130 and no figure", async () => {
  const running = cli.start("eval", "tiny", "--text", textFile("test-64k"), "--json");
  let heard = false;
  running.child.stderr?.once("data", () => {
    heard = true;
  });
  expect(await until(() => heard, running)).toBe(true);
  running.child.kill("SIGINT");
  expect(await running.said).toMatchObject({ code: 130, stdout: "" });
});

/** A file system of 256 kB, where this system lets us have one. */
function smallDisk(): string | undefined {
  const at = join(cli.folder, "small");
  mkdirSync(at);
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", at], { stdio: "ignore" });
  return status === 0 ? at : undefined;
}

test("a full disk: one error, and nothing on the disk", async (context) => {
  const disk = smallDisk();
  if (!disk) return context.skip("mounting a small file system takes rights that this user lacks");
  try {
    writeFileSync(join(cli.folder, "text.txt"), someText("test-32k", 2000));
    for (const format of ["packed", "dense"]) {
      const target = join(disk, "model");
      const args = ["--method", "magnitude", "--sparsity", "0.3", "--format", format, "-o", target];
      const { code, stderr, stdout } = await cli.run("prune", "tiny", ...args);
      expect(stderr).toMatch(
        /error: .*model\n {2}expected: room to write\n {2}got: {6}a full disk\n {2}Free some space/,
      );
      expect({ code, stdout, left: readdirSync(disk) }).toEqual({ code: 1, stdout: "", left: [] });
    }
  } finally {
    spawnSync("umount", [disk]);
  }
});
