import { afterAll, expect, it } from "vitest";
import { initSync, shutdown } from "../core/engine.ts";
import { stream } from "../core/random.ts";
import { scope } from "../core/scope.ts";
import { tensor } from "../core/tensor.ts";
import { trainedMobilenet } from "../models/convnets/trained.ts";
import { mobilenet } from "../models/mobilenet.ts";
import { EVALUATE } from "../nn/net.ts";
import { ConvRunner } from "./convnet.ts";

afterAll(() => shutdown());

it("a trained network, masked and folded, gives the logits of its evaluation", () => {
  initSync({ threads: 1 });
  const draws = stream(5, "trained");
  let at = 0;
  const next = (): number => draws.normal(at++);
  for (const options of [{}, { size: 19, width: 0.7, channels: 1, classes: 4, stem: 10 }]) {
    const net = mobilenet({ seed: 3, ...options });
    // as after training: norms off their initial values, 1x1 layers masked
    for (const p of net.params) {
      if (p.role === "norm") p.value.f32.set(p.value.f32.map((v) => v + 0.2 * next()));
      if (p.role === "weight") {
        const bits = Uint8Array.from({ length: p.value.size }, () => (next() > 1 ? 1 : 0));
        p.setMask({ bits, kept: bits.reduce((sum, b) => sum + b, 0) }, "zero");
      }
    }
    for (const b of net.buffers!) b.value.f32.set(b.value.f32.map((v) => Math.abs(v + 0.3 * next())));
    const { size = 32, channels = 3 } = options as { size?: number; channels?: number };
    const image = Float32Array.from({ length: channels * size * size }, next);
    const want = scope(() => net.forward(tensor(image, [1, channels, size, size]), EVALUATE).toArray());
    const runner = new ConvRunner(trainedMobilenet(net, options), { kernels: "sparse", fused: false });
    const got = runner.run(image);
    const largest = Math.max(...want.map(Math.abs));
    // folding rounds every weight once more, and sums run in another order
    got.forEach((value, i) => {
      expect(Math.abs(value - want[i])).toBeLessThan(1e-5 * largest);
    });
    expect(runner.layers.filter((l) => l.choice.form === "csr").length).toBe(5);
    expect(runner.layers[2].sparsity).toBeGreaterThan(0.7);
    runner.dispose();
  }
});

it("names the tensor that is missing", () => {
  const net = mobilenet({ seed: 1 });
  expect(() => trainedMobilenet({ ...net, buffers: [] }, {})).toThrow(/a tensor stemNorm.mean, got none/);
  const blocks = Array.from({ length: 6 }, () => ({ channels: 8, stride: 1 }));
  expect(() => trainedMobilenet(net, { blocks })).toThrow(/a tensor block6.pointwise.weight/);
});
