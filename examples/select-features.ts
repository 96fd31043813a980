/**
 * Chooses 50 of the 784 pixels of handwritten digits without looking at a label, and then asks how well those 50 tell the
 * digits apart. Run it with `npx tsx examples/select-features.ts [images] [epochs]`.
 */
import {
  first,
  init,
  loadMnist,
  nearestAccuracy,
  quickSelection,
  selectFeatures,
  shutdown,
  stream,
  strongest,
} from "../src/index.ts";

const [images = 10_000, epochs = 10] = process.argv.slice(2).map(Number);
await init();
const { train, test } = await loadMnist();
const [seen, unseen] = [first(train, images), first(test, Math.min(images, 2000))];

const { strength, connections, denseConnections } = await quickSelection(seen, {
  seed: 1,
  epochs,
  onEpoch: ({ epoch, loss }) => console.log(`epoch ${epoch}: reconstruction error ${loss.toFixed(1)}`),
});
const chosen = strongest(strength, 50);
const guessed = stream(1, "guess").permutation(784).slice(0, 50);

console.log(`connections: ${((100 * connections) / denseConnections).toFixed(1)} % of the dense network`);
for (let row = 0; row < 28; row++) {
  console.log(Array.from({ length: 28 }, (_, column) => (chosen.includes(28 * row + column) ? "#" : "·")).join(" "));
}
for (const [name, pixels] of Object.entries({ chosen, guessed })) {
  const right = nearestAccuracy(selectFeatures(seen, pixels), selectFeatures(unseen, pixels));
  console.log(`nearest neighbour on 50 ${name} pixels: ${(100 * right).toFixed(1)} % right`);
}
await shutdown();
