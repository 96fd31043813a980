/** The tile of the dense product, and how its loops are built. */

export const TILE_ROWS = 4;
export const TILE_COLUMNS = 8;

/** All of it in the kernel, less in its ladder. */
export interface GemmBuild {
  readonly unroll: 1 | 4;
  /** an exit after every step; without it a loop of single steps takes what is left of k */
  readonly exits: boolean;
  /** steps after which the next panel of B is taken up: a multiple of the block of 256 that sums are made in */
  readonly chunk: number;
}
