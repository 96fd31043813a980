import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LacunaError } from "../core/errors.ts";
import { fileTarget, writeFileAtomically, writeFolderAtomically } from "./atomic.node.ts";
import { openModelFolder } from "./model-folder.node.ts";
import { openSafetensors } from "./safetensors.ts";
import { writeSafetensors } from "./safetensors-write.ts";
import { fileSource } from "./source.node.ts";
import { isTemporaryName } from "./temporary.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "lacuna-atomic-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const model = (text: string) => async (folder: string) => {
  await writeFile(join(folder, "config.json"), text);
  mkdirSync(join(folder, "sub"));
  await writeFile(join(folder, "sub", "more"), "x");
};
const config = (name = "m") => readFileSync(join(root, name, "config.json"), "utf8");
const failing = (code: string) => async (folder: string) => {
  await writeFile(join(folder, "config.json"), "half");
  throw Object.assign(new Error(`${code}: no space left on device, write`), { code });
};

describe("folders", () => {
  test("appear with all they hold, and nothing else", async () => {
    await writeFolderAtomically(join(root, "a", "m"), async (folder) => {
      expect(isTemporaryName(folder.split("/").at(-1)!)).toBe(true);
      expect(existsSync(join(root, "a", "m"))).toBe(false);
      await model("1")(folder);
    });
    expect(config("a/m")).toBe("1");
    expect(readdirSync(join(root, "a"))).toEqual(["m"]);
    expect(readdirSync(join(root, "a", "m")).sort()).toEqual(["config.json", "sub"]);
  });

  test("an existing target is refused before anything is written, and replaced by force", async () => {
    const target = join(root, "m");
    await writeFolderAtomically(target, model("1"));
    let called = false;
    const second = writeFolderAtomically(target, async () => void (called = true));
    await expect(second).rejects.toThrow(/expected a name that is free, got a folder that exists. .*--force/);
    expect(called).toBe(false);
    expect(config()).toBe("1");
    await writeFolderAtomically(target, model("2"), { force: true });
    expect(config()).toBe("2");
    expect(readdirSync(root)).toEqual(["m"]);
  });

  test("force does not delete what is no model", async () => {
    mkdirSync(join(root, "letters"));
    writeFileSync(join(root, "letters", "to-a-friend.txt"), "dear");
    writeFileSync(join(root, "file"), "");
    const force = { force: true };
    await expect(writeFolderAtomically(join(root, "letters"), model("1"), force)).rejects.toThrow(
      /another kind of folder/,
    );
    await expect(writeFolderAtomically(join(root, "file"), model("1"), force)).rejects.toThrow(/a file of that name/);
    expect(readdirSync(root).sort()).toEqual(["file", "letters"]);
    await writeFolderAtomically(join(root, "letters"), model("1"), { ...force, mayReplace: () => true });
    expect(config("letters")).toBe("1");
  });

  test("a link stays a link", async () => {
    await writeFolderAtomically(join(root, "real"), model("1"));
    symlinkSync(join(root, "real"), join(root, "m"));
    await writeFolderAtomically(join(root, "m"), model("2"), { force: true });
    expect(config("real")).toBe("2");
    expect(readdirSync(root).sort()).toEqual(["m", "real"]);
  });

  test.each([false, true])("a full disk changes nothing (target exists: %s)", async (before) => {
    const target = join(root, "m");
    if (before) await writeFolderAtomically(target, model("1"));
    const error = await writeFolderAtomically(target, failing("ENOSPC"), { force: true }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(LacunaError);
    expect((error as Error).message).toMatch(/m: expected room to write, got a full disk/);
    expect(readdirSync(root)).toEqual(before ? ["m"] : []);
    if (before) expect(config()).toBe("1");
  });

  test("any other failure comes through as it is, and changes nothing", async () => {
    const boom = new TypeError("boom");
    await expect(
      writeFolderAtomically(join(root, "m"), async () => {
        throw boom;
      }),
    ).rejects.toBe(boom);
    expect(readdirSync(root)).toEqual([]);
  });

  test("aborted before, during and after writing", async () => {
    const target = join(root, "m");
    await writeFolderAtomically(target, model("1"));
    const reason = new Error("stop");
    const options = (signal: AbortSignal) => ({ force: true, signal });
    await expect(writeFolderAtomically(target, model("2"), options(AbortSignal.abort(reason)))).rejects.toBe(reason);
    const late = new AbortController();
    const write = async (folder: string) => {
      await model("2")(folder);
      late.abort(reason);
    };
    await expect(writeFolderAtomically(target, write, options(late.signal))).rejects.toBe(reason);
    expect(config()).toBe("1");
    expect(readdirSync(root)).toEqual(["m"]);
  });

  test("two at once: one wins, none is mixed", async () => {
    const target = join(root, "m");
    const slow = (text: string) => async (folder: string) => {
      await new Promise((done) => setTimeout(done, 20));
      await model(text)(folder);
    };
    const results = await Promise.allSettled([
      writeFolderAtomically(target, slow("1")),
      writeFolderAtomically(target, slow("2")),
    ]);
    expect(results.map((r) => r.status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(config()).toBe(results[0].status === "fulfilled" ? "1" : "2");
    expect(readdirSync(root)).toEqual(["m"]);
  });
});

describe("leftovers", () => {
  /** A pid that ran and is gone. */
  const deadPid = () => spawnSync(process.execPath, ["-e", ""]).pid;
  /** The marker of this machine, read off a real temporary name. */
  async function hostMarker(): Promise<string> {
    let name = "";
    await writeFolderAtomically(join(root, "probe"), async (folder) => void (name = folder));
    rmSync(join(root, "probe"), { recursive: true });
    return name.slice(-12, -8);
  }

  test("of dead processes go; of living ones, other machines and other targets stay", async () => {
    const host = await hostMarker();
    const other = host === "0000" ? "1111" : "0000";
    const pid = deadPid();
    const gone = [`.m.lacuna-tmp-${pid}-${host}00000000`, `.m.lacuna-tmp-${process.pid}-${host}00000000`];
    const kept = [
      `.m.lacuna-tmp-${process.ppid}-${host}00000000`,
      `.m.lacuna-tmp-${pid}-${other}00000000`,
      `.n.lacuna-tmp-${pid}-${host}00000000`,
      ".m.lacuna-tmp-notes",
    ];
    for (const name of [...gone, ...kept]) mkdirSync(join(root, name));
    await writeFolderAtomically(join(root, "m"), model("1"));
    expect(readdirSync(root).sort()).toEqual([...kept, "m"].sort());
  });

  test("a folder swapped out by a process that died then is put back", async () => {
    const host = await hostMarker();
    const old = join(root, `.m.lacuna-old-${deadPid()}-${host}00000000`);
    mkdirSync(old);
    writeFileSync(join(old, "config.json"), "1");
    await expect(writeFolderAtomically(join(root, "m"), model("2"))).rejects.toThrow(/a folder that exists/);
    expect(config()).toBe("1");
    expect(readdirSync(root)).toEqual(["m"]);
  });

  test("are never taken for a model", async () => {
    const path = join(root, ".m.lacuna-tmp-17-abcd01234567");
    mkdirSync(path);
    writeFileSync(join(path, "config.json"), "{}");
    await expect(openModelFolder(path)).rejects.toThrow(/expected a finished model folder, got a temporary one/);
  });
});

test("kill -9 at any moment leaves the folder whole, and the next write tidies up", async () => {
  const target = join(root, "m");
  const child = `
    import { writeFolderAtomically } from ${JSON.stringify(new URL("./atomic.node.ts", import.meta.url).href)};
    import { writeFileSync } from "node:fs";
    for (let turn = 0; ; turn++) {
      await writeFolderAtomically(${JSON.stringify(target)}, async (folder) => {
        for (const name of ["config.json", "a", "b"]) writeFileSync(folder + "/" + name, String(turn));
      }, { force: true });
      if (turn === 3) process.stdout.write("going");
    }`;
  for (const delay of [0, 4, 11]) {
    const writer = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", child]);
    await new Promise((going) => writer.stdout.once("data", going));
    await new Promise((done) => setTimeout(done, delay));
    const ended = new Promise((done) => writer.once("exit", done));
    writer.kill("SIGKILL");
    await ended;
    // whichever name it has, a folder that is not `tmp` is whole: one turn in all three files
    for (const name of readdirSync(root).filter((entry) => !entry.includes("lacuna-tmp"))) {
      const turns = ["config.json", "a", "b"].map((file) => {
        const path = join(root, name, file);
        return existsSync(path)
          ? readFileSync(path, "utf8")
          : name.includes("lacuna-old")
            ? "being deleted"
            : "missing";
      });
      if (!turns.includes("being deleted")) expect(new Set(turns).size).toBe(1);
      expect(turns).not.toContain("missing");
    }
  }
  await writeFolderAtomically(target, model("last"), { force: true });
  expect(readdirSync(root)).toEqual(["m"]);
  expect(config()).toBe("last");
});

describe("files", () => {
  test("are replaced whole, or refused", async () => {
    const target = join(root, "f");
    await writeFileAtomically(target, "one");
    await writeFileAtomically(target, Uint8Array.of(50));
    expect(readFileSync(target, "utf8")).toBe("2");
    await expect(writeFileAtomically(target, "3", { force: false })).rejects.toThrow(/a file that exists/);
    await expect(writeFileAtomically(root, "3")).rejects.toThrow(/a folder of that name/);
    await expect(writeFileAtomically(target, "3", { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    expect(readFileSync(target, "utf8")).toBe("2");
    expect(readdirSync(root)).toEqual(["f"]);
  });

  test("safetensors, tensor by tensor, from memory that threads share", async () => {
    const shared = new Uint8Array(new SharedArrayBuffer(16)).fill(7);
    const target = await fileTarget(join(root, "f"));
    const writer = writeSafetensors(target, [
      { name: "a", dtype: "F32", shape: [4] },
      { name: "b", dtype: "BF16", shape: { atMost: 8 } },
    ]);
    await writer.write("b", shared.subarray(0, 6));
    await writer.write("a", shared);
    await writer.finish();
    await target.close();
    const weights = await openSafetensors(fileSource(join(root, "f")), "f");
    expect([...(await weights.read("a"))]).toEqual(Array(16).fill(7));
    expect([...(await weights.read("b"))]).toEqual(Array(6).fill(7));
    await weights.close();
    await expect(fileTarget(join(root, "f"))).rejects.toThrow(/EEXIST/);
  });
});
