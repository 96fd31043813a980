/**
 * Windows bitmaps, as Set5 comes: 24 bits a pixel without compression, rows from the bottom up or from the top down. The
 * pixels begin where the header says. Palettes, 16 and 32 bits, and run lengths are refused.
 */
import { demand, LacunaError } from "../core/errors.ts";
import type { Image } from "./image.ts";

const LIMIT = 1 << 15;

/** Reads a 24-bit BMP into [3, H, W] bytes, red first. */
export function readBmp(file: Uint8Array, where: string): Image {
  const wrong = (expected: string, got: string, hint: string): never => {
    throw new LacunaError({ about: where, expected, got, hint });
  };
  const again = "The file is damaged or cut short; fetch it again.";
  const convert = "Convert the picture to 24 bits without compression.";
  if (file.length < 54) wrong("a BMP header of 54 bytes", `${file.length} bytes`, again);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint16(0) !== 0x424d) wrong("a BMP file, which begins with BM", "other bytes", again);
  const offset = view.getUint32(10, true);
  const headerSize = view.getUint32(14, true);
  if (headerSize < 40) wrong("a Windows header of at least 40 bytes", String(headerSize), convert);
  const width = view.getInt32(18, true);
  const signedHeight = view.getInt32(22, true);
  const height = Math.abs(signedHeight);
  const [planes, bits, compression] = [view.getUint16(26, true), view.getUint16(28, true), view.getUint32(30, true)];
  if (planes !== 1 || bits !== 24) wrong("24 bits a pixel in one plane", `${bits} bits, ${planes} planes`, convert);
  if (compression !== 0) wrong("no compression", `kind ${compression}`, convert);
  demand(width >= 1 && width <= LIMIT && height >= 1 && height <= LIMIT, () => ({
    about: where,
    expected: `a picture of 1 to ${LIMIT} pixels a side`,
    got: `${width} x ${signedHeight}`,
    hint: again,
  }));
  const stride = Math.ceil((3 * width) / 4) * 4;
  if (offset < 14 + headerSize || offset + stride * height > file.length) {
    wrong(`${stride * height} bytes of pixels from byte ${offset} on`, `a file of ${file.length} bytes`, again);
  }
  const size = width * height;
  const pixels = new Uint8Array(3 * size);
  for (let row = 0; row < height; row++) {
    let at = offset + stride * (signedHeight > 0 ? height - 1 - row : row);
    for (let i = row * width; i < (row + 1) * width; i++, at += 3) {
      pixels[i] = file[at + 2];
      pixels[size + i] = file[at + 1];
      pixels[2 * size + i] = file[at];
    }
  }
  return { name: where, channels: 3, height, width, pixels };
}
