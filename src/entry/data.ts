/** `lacuna/data`: data sets, batches and augmentation, and what a network's answers are worth. */
export { crop, flip, jitter } from "../data/augment.ts";
export { downloadData } from "../data/download.node.ts";
export { batchesInOrder, batchMaker, makeBatch, shuffledBatches } from "../data/example-batches.ts";
export { type Examples, examples, first, mapSplits, poolImages, type Splits } from "../data/examples.ts";
export { datasets, findData, hasData } from "../data/find.node.ts";
export {
  loadBsd400,
  loadCifar10,
  loadCifar10Subset,
  loadCora,
  loadDigits,
  loadFashionMnist,
  loadIsolet,
  loadMnist,
  loadMovieLens,
  loadSet5,
  loadSet12,
} from "../data/load.node.ts";
export { standardised, standardiser } from "../data/normalise.ts";
export { numberWordSplits } from "../data/number-words.ts";
export { plantedFeatures } from "../data/planted.ts";
export { loadSotu } from "../data/sotu.ts";
export { permutedTasks, splitTasks } from "../data/tasks.ts";
export { calibrationError } from "../evaluate/calibration-error.ts";
export { accuracy, classify, confusion, predict } from "../evaluate/classify.ts";
export { continualMetrics } from "../evaluate/continual.ts";
export { psnr, ssim } from "../evaluate/image-quality.ts";
export { rank } from "../evaluate/ranking.ts";
