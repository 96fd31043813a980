/**
 * Prunes a small convolutional network gradually, while it learns to read digits: four of five weights go, and the rest of
 * the run heals what that costs. Run it with `npx tsx examples/prune-cnn.ts [images] [epochs]`.
 */
import { classify, first, loadMnist, standardiser } from "../src/entry/data.ts";
import { Adam, init, plainCnn, shutdown } from "../src/entry/nn.ts";
import { cosine, fit, gmp, sitesOf, sourceOf } from "../src/entry/training.ts";

const [images = 10_000, epochs = 4] = process.argv.slice(2).map(Number);
await init();
const mnist = await loadMnist();
const [train, test] = [first(mnist.train, images), first(mnist.test, Math.min(images, 2000))];
const normaliser = standardiser(train);

const net = plainCnn({ seed: 1, stages: [16, 32, 64].map((channels) => ({ channels, stride: 2 })) });
const sites = sitesOf(net); // all weights; biases and norms are never pruned
const kept = () => sites.reduce((n, s) => n + s.param.kept, 0);
const all = kept();

await fit(net, {
  optimiser: new Adam(net.params),
  source: sourceOf(train, { normaliser }),
  epochs,
  batch: 32,
  rate: cosine(1e-2, 1e-4),
  seed: 1,
  method: gmp({ sparsity: 0.8, every: 5 }), // from a tenth of the run on, until six tenths
  onEpoch: ({ epoch, loss }) => console.log(`epoch ${epoch}: loss ${loss.toFixed(3)}, ${kept()} of ${all} weights`),
});

const { accuracy } = classify(net, test, { normaliser });
console.log(`${(100 * accuracy).toFixed(1)} % of unseen digits are read rightly`);
await shutdown();
