import { encode } from "fast-png";
import { describe, expect, it } from "vitest";
import { readBmp } from "./bmp.ts";
import { memoryFiles, sha256 } from "./files.ts";
import { luma, readImage, readImages, readPng } from "./image.ts";

/** A 24-bit BMP with rows padded to 4 bytes; `gap` bytes between header and pixels, negative height: from the top down. */
function bmp(width: number, height: number, rows: readonly (readonly number[])[], gap = 0): Uint8Array {
  const stride = Math.ceil((3 * width) / 4) * 4;
  const out = new Uint8Array(54 + gap + stride * rows.length).fill(0xee, 54);
  const view = new DataView(out.buffer);
  out.set([0x42, 0x4d]);
  view.setUint32(10, 54 + gap, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, width, true);
  view.setInt32(22, height, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, 24, true);
  rows.forEach((row, i) => {
    out.set(row, 54 + gap + i * stride);
  });
  return out;
}

// top row: red, green; bottom row: blue, grey (BMP stores blue, green, red)
const top = [0, 0, 255, 0, 255, 0];
const bottom = [255, 0, 0, 9, 9, 9];
const expected = [255, 0, 0, 9, /* green */ 0, 255, 0, 9, /* blue */ 0, 0, 255, 9];

describe("BMP", () => {
  it("reads rows from the bottom up and from the top down, with padding, where the header says", () => {
    expect([...readBmp(bmp(2, 2, [bottom, top]), "f").pixels]).toEqual(expected);
    expect([...readBmp(bmp(2, -2, [top, bottom]), "f").pixels]).toEqual(expected);
    const image = readBmp(bmp(2, 2, [bottom, top], 68), "f");
    expect([...image.pixels]).toEqual(expected);
    expect([image.width, image.height, image.channels]).toEqual([2, 2, 3]);
    // a view into a larger buffer, as file reads give
    const file = bmp(2, 2, [bottom, top]);
    const shifted = new Uint8Array(file.length + 5);
    shifted.set(file, 5);
    expect([...readBmp(shifted.subarray(5), "f").pixels]).toEqual(expected);
  });

  it("refuses what it cannot read, and says why", () => {
    const good = bmp(2, 2, [bottom, top]);
    const change = (at: number, value: number, bytes: 2 | 4 = 4): Uint8Array => {
      const file = good.slice();
      const view = new DataView(file.buffer);
      if (bytes === 2) view.setUint16(at, value, true);
      else view.setInt32(at, value, true);
      return file;
    };
    expect(() => readBmp(good.subarray(0, 40), "f")).toThrow(/f: expected a BMP header of 54 bytes, got 40/);
    expect(() => readBmp(change(0, 0, 2), "f")).toThrow(/begins with BM/);
    expect(() => readBmp(good.subarray(0, good.length - 1), "f")).toThrow(/16 bytes of pixels from byte 54 on/);
    expect(() => readBmp(change(10, 20), "f")).toThrow(/pixels from byte 20 on/);
    expect(() => readBmp(change(14, 12), "f")).toThrow(/Windows header.*got 12/);
    expect(() => readBmp(change(28, 8, 2), "f")).toThrow(/24 bits a pixel.*got 8 bits/);
    expect(() => readBmp(change(30, 1), "f")).toThrow(/no compression, got kind 1/);
    expect(() => readBmp(change(18, -2), "f")).toThrow(/1 to 32768 pixels a side, got -2 x 2/);
    expect(() => readBmp(change(18, 2_000_000), "f")).toThrow(/pixels a side, got 2000000/);
    expect(() => readBmp(change(22, 0), "f")).toThrow(/got 2 x 0/);
  });
});

describe("PNG", () => {
  const png = (channels: 1 | 2 | 3 | 4, data: number[], depth: 8 | 16 = 8): Uint8Array =>
    encode({
      width: 2,
      height: 1,
      channels,
      depth,
      data: depth === 8 ? Uint8Array.from(data) : Uint16Array.from(data),
    });

  it("reads grey and colour, without transparency", () => {
    expect(readPng(png(1, [7, 8]), "f")).toMatchObject({ channels: 1, height: 1, width: 2 });
    expect([...readPng(png(1, [7, 8]), "f").pixels]).toEqual([7, 8]);
    expect([...readPng(png(2, [7, 255, 8, 0]), "f").pixels]).toEqual([7, 8]);
    expect([...readPng(png(3, [1, 2, 3, 4, 5, 6]), "f").pixels]).toEqual([1, 4, 2, 5, 3, 6]);
    expect([...readPng(png(4, [1, 2, 3, 255, 4, 5, 6, 0]), "f").pixels]).toEqual([1, 4, 2, 5, 3, 6]);
  });

  it("refuses 16 bits, damage, a cut, and other files", () => {
    expect(() => readPng(png(1, [7, 8], 16), "f")).toThrow(/f: expected a PNG image of 8 bits a channel, got 16 bits/);
    const good = png(1, [7, 8]);
    const bad = good.slice();
    bad[20] ^= 1; // width: the header's checksum no longer holds
    expect(() => readPng(bad, "f")).toThrow(/f: expected a PNG image/);
    expect(() => readPng(good.subarray(0, good.length - 20), "f")).toThrow(/f: expected a PNG image/);
    expect(() => readImage(new TextEncoder().encode("GIF89a......"), "f")).toThrow(/f: expected a PNG image/);
  });
});

describe("images of a folder", () => {
  it("are read by name and checked together", async () => {
    const [a, b] = [1, 2].map((v) => encode({ width: 1, height: 1, channels: 1, depth: 8, data: Uint8Array.of(v) }));
    const files = memoryFiles("d", { "b.png": b, "a.png": a, "c.bmp": bmp(2, 2, [bottom, top]), "notes.txt": "x" });
    const images = await readImages(files);
    expect(images.map((i) => i.name)).toEqual(["a", "b", "c"]);
    expect(images.map((i) => i.pixels[0])).toEqual([1, 2, 255]);
    const sum = await sha256(Uint8Array.from([...a, ...b]));
    await expect(readImages({ ...files, sums: { "*.png": sum } })).resolves.toHaveLength(3);
    await expect(readImages({ ...files, sums: { "*.png": "0" } })).rejects.toThrow(/d\/\*\.png: expected SHA-256 0/);
  });
});

describe("luma", () => {
  it("is that of BT.601: 16 for black, 235 for white, 81, 145, 41 for the primaries", () => {
    const pixels = Uint8Array.from([0, 255, 255, 0, 0, 0, 255, 0, 255, 0, 0, 255, 0, 0, 255]);
    const y = luma({ name: "p", channels: 3, height: 1, width: 5, pixels });
    // 16 + 65.481, + 128.553, + 24.966, rounded; known values of rgb2ycbcr for bytes
    expect([...y.pixels]).toEqual([16, 235, 81, 145, 41]);
    expect(y.channels).toBe(1);
    expect(luma(y)).toBe(y);
  });
});
