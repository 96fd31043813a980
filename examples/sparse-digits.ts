/**
 * Trains a classifier of digits that is sparse from the first step to the last: 95 % of its weights are never there, and
 * RigL moves the rest to where they help. Memory and time of a step follow the non-zeros. Run it with
 * `npx tsx examples/sparse-digits.ts [images] [epochs]`.
 */
import { classify, first, loadMnist, standardiser } from "../src/entry/data.ts";
import { Adam, init, mlp, shutdown } from "../src/entry/nn.ts";
import { cosine, figuresOf, fit, rigl, sourceOf } from "../src/entry/training.ts";

const [images = 10_000, epochs = 4] = process.argv.slice(2).map(Number);
await init();
const mnist = await loadMnist();
const [train, test] = [first(mnist.train, images), first(mnist.test, Math.min(images, 2000))];
const normaliser = standardiser(train);
const source = sourceOf(train, { normaliser, flat: true });

const net = mlp([784, 1024, 1024, 10], { seed: 1 });
const dense = figuresOf(net);
const method = rigl({ sparsity: 0.95, every: 20 });

await fit(net, {
  optimiser: new Adam(net.params),
  source,
  epochs,
  batch: 128,
  rate: cosine(2e-3, 1e-4),
  seed: 1,
  method,
  onEpoch: ({ epoch, loss }) => console.log(`epoch ${epoch}: loss ${loss.toFixed(3)}`),
});

const { kept, storedBytes } = figuresOf(net);
console.log(`${kept} of ${dense.parameters} parameters, ${(storedBytes / 1024).toFixed(0)} KiB stored`);
console.log(`${(100 * method.meter.explored).toFixed(0)} % of all places were tried`);
const { accuracy } = classify(net, test, { normaliser, flat: true });
console.log(`${(100 * accuracy).toFixed(1)} % of unseen digits are read rightly`);
await shutdown();
