/** Global average pooling: one mean a plane, summed in four lanes and then from the first lane to the last. */
import type { Comparison, Kernel } from "../kernel.ts";
import { f32, f32x4, forRange, i32, ModuleBuilder, v128 } from "../wasm/asm.ts";
import { drawPlanes } from "./depthwise-trials.ts";
import { add, at, c, mul, params, shl } from "./planes.ts";

const PARAMS = ["x", "y", "plane", "pixels", "from", "to"] as const;

export const poolPlanes: Kernel = {
  name: "pool-f32-planes",
  family: "convnet",
  summary: "Mean of each plane",
  functions: {
    channels: { params: PARAMS, does: "y[c] = mean of the pixels of x [C][plane], for the channels from..to" },
  },
  emit({ shared }) {
    const m = new ModuleBuilder({ shared });
    m.func("channels", params(PARAMS), (f) => {
      const { x, y, plane, pixels, from, to } = f.p;
      const [channel, first, pixel] = f.locals("i32", 3);
      const lanes = f.local("v128");
      const sum = f.local("f32");
      const whole = i32.and(pixels, c(-4));
      return forRange(
        channel,
        from,
        to,
        1,
        first.set(at(x, mul(channel, plane), 2)),
        lanes.set(v128.const32(0, 0, 0, 0)),
        forRange(pixel, c(0), whole, 4, lanes.set(f32x4.add(lanes, v128.load(add(first, shl(pixel, c(2))))))),
        sum.set(f32x4.extract(lanes, 0)),
        ...[1, 2, 3].map((lane) => sum.set(f32.add(sum, f32x4.extract(lanes, lane)))),
        forRange(pixel, whole, pixels, 1, sum.set(f32.add(sum, f32.load(add(first, shl(pixel, c(2))))))),
        f32.store(at(y, channel, 2), f32.div(sum, f32.convertI32s(pixels))),
      );
    });
    return m.bytes();
  },
  trials: [
    {
      name: "means and their splits",
      run(draw, box): readonly Comparison[] {
        const channels = draw.int(0, 5);
        const pixels = draw.int(1, 60);
        const plane = pixels + draw.int(0, 5);
        const x = drawPlanes(draw, channels, plane, pixels);
        const want = new Float64Array(channels);
        const tolerance = new Float64Array(channels);
        for (let i = 0; i < channels; i++) {
          for (let p = 0; p < pixels; p++) {
            want[i] += x[i * plane + p] / pixels;
            // at most `pixels` sums and a division, each off by half a unit
            tolerance[i] += (2 * (pixels + 1) * 2 ** -24 * Math.abs(x[i * plane + p])) / pixels;
          }
        }
        const source = box.put(x);
        const y = box.room(4 * channels);
        const cut = draw.int(0, channels);
        box.call("channels", source, y, plane, pixels, cut, channels);
        box.call("channels", source, y, plane, pixels, 0, cut);
        return [{ what: "means", got: box.f32(y, channels), want, tolerance }];
      },
    },
  ],
};
