/**
 * Trials of the dense product, and its ladder: the same product by the plain twin, by earlier loops, and by the kernel.
 *
 * What else was tried and did not help (Zen 4, V8 11, one thread): tiles of 3x12, 5x8, 6x8, 8x8 (sums spill beyond 15
 * vectors, and a spilled sum costs some 12 cycles a step); A splatted by shuffles or stored splatted; touching B ahead.
 */

import { drawnValues } from "../example.ts";
import type { Comparison, Draw, EmitOptions, Ladder, Rung, Sandbox } from "../kernel.ts";
import { type GemmBuild, TILE_COLUMNS, TILE_ROWS } from "./gemm-build.ts";
import { packPanels } from "./pack.ts";
import { product, sumTolerance } from "./twin.ts";

function drawProduct(draw: Draw, box: Sandbox, most: number, mostK: number) {
  const m = draw.int(0, most);
  const columns = draw.int(0, most);
  const k = draw.int(0, mostK);
  const ldc = columns + draw.int(0, 5);
  const a = draw.floats(m * k);
  const b = draw.floats(k * columns);
  const start = draw.floats(m * ldc);
  const pa = box.put(packPanels(a, k, 1, m, k, TILE_ROWS));
  const pb = box.put(packPanels(b, 1, columns, columns, k, TILE_COLUMNS));
  return { m, columns, k, ldc, a, b, start, pa, pb };
}

/** Splits at drawn borders by rows or columns against one whole call: the same bits, and right ones. */
export function gemmTrial(most: number, mostK: number) {
  return (draw: Draw, box: Sandbox): Comparison[] => {
    const { m, columns, k, ldc, a, b, start, pa, pb } = drawProduct(draw, box, most, mostK);
    const onto = draw.int(0, 1);
    const { sums, sizes } = product(a, b, m, columns, k);
    const want = Float64Array.from(start);
    const tolerance = new Float64Array(want.length);
    const bounds = sumTolerance(k + 1, sizes);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < columns; j++) {
        const at = i * ldc + j;
        want[at] = onto * want[at] + sums[i * columns + j];
        tolerance[at] = bounds[i * columns + j] + onto * Math.abs(start[at]) * 2 ** -23;
      }
    }
    const rowPanels = Math.ceil(m / TILE_ROWS);
    const columnPanels = Math.ceil(columns / TILE_COLUMNS);
    const whole = box.put(start);
    const byRows = box.put(start);
    const byColumns = box.put(start);
    const args = (c: number): number[] => [pa, pb, c, ldc, m, columns, k, onto];
    box.call("rows", ...args(whole), 0, rowPanels);
    const row = draw.int(0, rowPanels);
    box.call("rows", ...args(byRows), row, rowPanels);
    box.call("rows", ...args(byRows), 0, row);
    const column = draw.int(0, columnPanels);
    box.call("columns", ...args(byColumns), 0, column);
    box.call("columns", ...args(byColumns), column, columnPanels);
    const got = box.f32(whole, start.length);
    return [
      { what: "product", got, want, tolerance },
      { what: "split by rows", got: box.f32(byRows, start.length), want: got, tolerance: 0 },
      { what: "split by columns", got: box.f32(byColumns, start.length), want: got, tolerance: 0 },
    ];
  };
}

const EXAMPLE = { m: 64, columns: 512, k: 1024 } as const;

export function gemmLadder(emit: (options: EmitOptions, build?: GemmBuild) => Uint8Array<ArrayBuffer>): Ladder {
  const { m, columns, k } = EXAMPLE;
  const a = drawnValues(m * k, 1);
  const b = drawnValues(k * columns, 2);
  const rung = (step: string, build?: GemmBuild): Rung => ({
    step,
    emit: (options) => emit(options, build),
    arrange(box) {
      const pa = box.put(packPanels(a, k, 1, m, k, TILE_ROWS));
      const pb = box.put(packPanels(b, 1, columns, columns, k, TILE_COLUMNS));
      const c = box.room(4 * m * columns);
      return {
        fn: "columns",
        args: [pa, pb, c, columns, m, columns, k, 0, 0, columns / TILE_COLUMNS],
        result: c,
        count: m * columns,
      };
    },
  });
  const byBlocks = { chunk: 256 } as const;
  return {
    example: `${m} x ${k} x ${columns}, both factors packed`,
    operations: 2 * m * k * columns,
    twin: () => product(a, b, m, columns, k).sums,
    tolerance: k * k * 2 ** -24,
    rungs: [
      rung("4x8 tile, one step a turn, blocks of k outermost", { unroll: 1, exits: true, ...byBlocks }),
      rung("four steps a turn", { unroll: 4, exits: false, ...byBlocks }),
      rung("an exit after each step", { unroll: 4, exits: true, ...byBlocks }),
      rung("panels of B in the order of their addresses"),
    ],
  };
}
