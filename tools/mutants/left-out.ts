/** Which files of src/kernels are not changed, and why. */

/** Files that are no kernels: what tests them, what describes them, what lists them. Each with its reason. */
export const LEFT_OUT: readonly { readonly pattern: RegExp; readonly why: string }[] = [
  { pattern: /\.test\.ts$/, why: "tests" },
  { pattern: /(^|[/.-])trials?\.ts$/, why: "trials: they are what judges" },
  { pattern: /(^|\/)(twin|plain)\.ts$|[.-]plain\.ts$|finite-difference\.ts$/, why: "plain twins: they are the oracle" },
  { pattern: /ladders\.ts$|(^|\/)example\.ts$/, why: "ladders: documentation with figures" },
  { pattern: /(^|\/)(compare|sandbox)\.ts$/, why: "what trials are run with" },
  { pattern: /(^|\/)(index|table|kernel)\.ts$/, why: "lists and types" },
];

export const leftOut = (file: string): string | undefined => LEFT_OUT.find(({ pattern }) => pattern.test(file))?.why;
