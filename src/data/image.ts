/**
 * Single images as bytes [C, H, W]: reading by content (PNG through fast-png, BMP by bmp.ts), and luma by BT.601 as the
 * super-resolution literature takes it. Sets of equal images are `Examples` (examples.ts).
 */
import { convertIndexedToRgb, decode } from "fast-png";
import { LacunaError } from "../core/errors.ts";
import { readBmp } from "./bmp.ts";
import { checkSum, type DataFiles, readPlain } from "./files.ts";

export interface Image {
  readonly name: string;
  /** 1: grey, 3: red, green, blue */
  readonly channels: 1 | 3;
  readonly height: number;
  readonly width: number;
  /** [C, H, W] */
  readonly pixels: Uint8Array;
}

/** Reads a PNG of 8 bits a channel, grey, colour or with a palette; transparency is dropped. */
export function readPng(file: Uint8Array, where: string): Image {
  const wrong = (got: string, hint: string, cause?: unknown): never => {
    throw new LacunaError({ about: where, expected: "a PNG image of 8 bits a channel", got, hint }, { cause });
  };
  let png: ReturnType<typeof decode>;
  try {
    png = decode(file, { checkCrc: true });
  } catch (cause) {
    const got = cause instanceof Error ? cause.message : String(cause);
    return wrong(got, "The file is damaged, cut short, or no PNG; fetch it again.", cause);
  }
  const { width, height } = png;
  if (png.depth !== 8) return wrong(`${png.depth} bits`, "Convert it to 8 bits a channel.");
  const data = png.palette ? convertIndexedToRgb(png) : png.data;
  const stride = png.palette ? (png.palette[0]?.length ?? 3) : png.channels;
  const channels = stride >= 3 ? 3 : 1;
  const size = width * height;
  if (data.length !== size * stride) return wrong(`${data.length} values for ${width} x ${height}`, "Fetch it again.");
  const pixels = new Uint8Array(channels * size);
  for (let c = 0; c < channels; c++) for (let i = 0; i < size; i++) pixels[c * size + i] = data[i * stride + c];
  return { name: where, channels, height, width, pixels };
}

/** Reads a PNG or BMP, told apart by their first bytes. */
export function readImage(file: Uint8Array, where: string): Image {
  if (file[0] === 0x42 && file[1] === 0x4d) return readBmp(file, where);
  return readPng(file, where);
}

const nameOf = (file: string): string => file.replace(/\.[^.]*$/, "");

/** All PNG and BMP files of a folder, by name. */
export async function readImages(files: DataFiles): Promise<Image[]> {
  const names = (await files.list()).filter((n) => /\.(png|bmp)$/i.test(n)).sort();
  const contents = await Promise.all(names.map((n) => readPlain(files, n)));
  const sum = files.sums?.["*.png"];
  if (sum) {
    const png = contents.filter((_, i) => names[i].endsWith(".png"));
    const joined = new Uint8Array(png.reduce((n, c) => n + c.length, 0));
    let at = 0;
    for (const c of png) {
      joined.set(c, at);
      at += c.length;
    }
    await checkSum(joined, sum, `${files.where}/*.png`);
  }
  return contents.map((c, i) => ({ ...readImage(c, `${files.where}/${names[i]}`), name: nameOf(names[i]) }));
}

/** Y of BT.601 in 16..235, rounded, as MATLAB's rgb2ycbcr gives for bytes; a grey image is returned as it is. */
export function luma(image: Image): Image {
  if (image.channels === 1) return image;
  const size = image.height * image.width;
  const { pixels } = image;
  const y = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    const sum = 65.481 * pixels[i] + 128.553 * pixels[size + i] + 24.966 * pixels[2 * size + i];
    y[i] = Math.floor(16 + sum / 255 + 0.5);
  }
  return { ...image, channels: 1, pixels: y };
}
