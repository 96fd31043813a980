/**
 * MovieLens 100K (GroupLens; Harper and Konstan 2015): `u.data`, lines of user, item, rating, time, tab-separated. Some
 * copies have a header line; both are read.
 */
import { demand, LacunaError } from "../core/errors.ts";
import { decodeText } from "../formats/json.ts";
import type { Splits } from "./examples.ts";
import { checkSum, type DataFiles, readPlain } from "./files.ts";
import { type Interactions, interactions, splitByUser, type UserSplitOptions } from "./interactions.ts";

export interface Ratings {
  /** ids as in the file, rising; place u is user u */
  readonly userIds: Int32Array;
  readonly itemIds: Int32Array;
  /** one entry a line */
  readonly user: Int32Array;
  readonly item: Int32Array;
  readonly rating: Float32Array;
  readonly time: Float64Array;
}

/** Bytes after a header line, if the first line is one: its first character is no digit. */
export function withoutHeader(bytes: Uint8Array): Uint8Array {
  const isDigit = bytes.length > 0 && bytes[0] >= 0x30 && bytes[0] <= 0x39;
  if (isDigit || bytes.length === 0) return bytes;
  const end = bytes.indexOf(0x0a);
  return end < 0 ? bytes.subarray(bytes.length) : bytes.subarray(end + 1);
}

function ranked(ids: Int32Array): { ids: Int32Array; place: Int32Array } {
  const distinct = Int32Array.from(new Set(ids)).sort();
  const at = new Map(Array.from(distinct, (id, i) => [id, i]));
  return { ids: distinct, place: ids.map((id) => at.get(id)!) };
}

/** Reads the lines of `u.data`; `where` names the file in errors. */
export function readRatings(bytes: Uint8Array, where: string): Ratings {
  const header = withoutHeader(bytes).length < bytes.length ? 1 : 0;
  const lines = decodeText(withoutHeader(bytes), where).split(/\r?\n/);
  while (lines.length > 0 && lines.at(-1) === "") lines.pop();
  demand(lines.length > 0, () => ({
    about: where,
    expected: "lines of user, item, rating, time",
    got: "none",
    hint: "Fetch the file again.",
  }));
  const n = lines.length;
  const [user, item, rating, time] = [new Int32Array(n), new Int32Array(n), new Float32Array(n), new Float64Array(n)];
  const seen = new Set<number>();
  lines.forEach((line, i) => {
    const wrong = (expected: string): never => {
      const at = `${where}, line ${i + 1 + header}`;
      throw new LacunaError({ about: at, expected, got: JSON.stringify(line), hint: "Fetch the file again." });
    };
    const cells = line.split("\t");
    if (cells.length !== 4) wrong("user, item, rating and time, separated by tabs");
    const [u, v, r, t] = cells.map((c) => (c.trim() === "" ? Number.NaN : Number(c)));
    const id = (x: number): boolean => Number.isInteger(x) && x >= 1 && x < 2 ** 24;
    if (!(id(u) && id(v) && r >= 0.5 && r <= 5 && t >= 0)) {
      wrong("ids of at least 1, a rating from 0.5 to 5 and a time");
    }
    const key = u * 2 ** 24 + v;
    if (seen.has(key)) wrong(`one rating of item ${v} by user ${u}`);
    seen.add(key);
    user[i] = u;
    item[i] = v;
    rating[i] = r;
    time[i] = t;
  });
  const [users, items] = [ranked(user), ranked(item)];
  return { userIds: users.ids, itemIds: items.ids, user: users.place, item: items.place, rating, time };
}

export interface MovieLens extends Splits<Interactions> {
  readonly all: Interactions;
  readonly ratings: Ratings;
}

/** All ratings as positives, split at random within each user. */
export async function movieLensSplits(files: DataFiles, options: UserSplitOptions): Promise<MovieLens> {
  const { sums, ...unchecked } = files;
  const where = `${files.where}/u.data`;
  const bytes = await readPlain(unchecked, "u.data");
  if (sums?.["u.data"]) await checkSum(withoutHeader(bytes), sums["u.data"], where);
  const ratings = readRatings(bytes, where);
  const all = interactions(ratings.userIds.length, ratings.itemIds.length, ratings.user, ratings.item);
  return { all, ratings, ...splitByUser(all, options) };
}
