/** Names of what atomic writing puts beside its target until it is done: `.<name>.lacuna-tmp-<pid>-<host><random>`. */

export interface TemporaryName {
  /** the target's own name */
  readonly target: string;
  /** `tmp`: being written; `old`: swapped out by a replacement */
  readonly kind: "tmp" | "old";
  readonly pid: number;
  /** four hexadecimal digits that tell machines (and containers) apart */
  readonly host: string;
}

const pattern = /^\.(.+)\.lacuna-(tmp|old)-(\d{1,10})-([0-9a-f]{4})[0-9a-f]{8}$/;

export function readTemporaryName(name: string): TemporaryName | undefined {
  const match = pattern.exec(name);
  if (!match) return undefined;
  return { target: match[1], kind: match[2] as "tmp" | "old", pid: Number(match[3]), host: match[4] };
}

export function isTemporaryName(name: string): boolean {
  return readTemporaryName(name) !== undefined;
}

export function temporaryName(target: string, kind: "tmp" | "old", pid: number, host: string, random: string): string {
  return `.${target}.lacuna-${kind}-${pid}-${host}${random}`;
}
