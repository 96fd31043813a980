/**
 * One call for each data set: find it on this machine, check it, read it, split it. Node only; in a browser, give the
 * files to the set's own function (idxSplits, cifarSplits, ...).
 */
import { type CifarOptions, cifarSplits } from "./cifar.ts";
import { type CitationGraph, citationGraph } from "./cora.ts";
import type { Splits } from "./examples.ts";
import { type OpenOptions, openData } from "./find.node.ts";
import { type IdxSplitOptions, idxSplits } from "./idx.ts";
import { type Image, readImages } from "./image.ts";
import type { UserSplitOptions } from "./interactions.ts";
import { type MovieLens, movieLensSplits } from "./movielens.ts";
import { DIGITS, ISOLET, type TableOptions, tableSplits } from "./tables.ts";

/** 28 x 28 digits: 50,000 / 10,000 (the last of the training file) / 10,000. */
export const loadMnist = (options: OpenOptions & IdxSplitOptions = {}): Promise<Splits> =>
  idxSplits(openData("mnist", options), "mnist", options);

/** 28 x 28 clothes: 50,000 / 10,000 (the last of the training file) / 10,000. */
export const loadFashionMnist = (options: OpenOptions & IdxSplitOptions = {}): Promise<Splits> =>
  idxSplits(openData("fashion-mnist", options), "fashion-mnist", options);

/** All of CIFAR-10: 45,000 / 5,000 (the last 500 of each class) / 10,000. */
export const loadCifar10 = (options: OpenOptions & CifarOptions = {}): Promise<Splits> =>
  cifarSplits(openData("cifar-10", options), "cifar-10", options);

/** A subset of CIFAR-10: 9,000 / 1,000 (the last 100 of each class) / 2,000. */
export const loadCifar10Subset = (options: OpenOptions & CifarOptions = {}): Promise<Splits> =>
  cifarSplits(openData("cifar-10-subset", options), "cifar-10-subset", options);

/** Spoken letters, 617 features, 26 classes: 936 / 312 / 312, drawn by seed. Speakers occur in all three. */
export const loadIsolet = (options: OpenOptions & TableOptions = {}): Promise<Splits> =>
  tableSplits(openData("isolet", options), "isolet.data", ISOLET, options);

/** 8 x 8 digits: about 60 / 20 / 20 % of each class, drawn by seed. */
export const loadDigits = (options: OpenOptions & TableOptions = {}): Promise<Splits> =>
  tableSplits(openData("digits", options), "optdigits.csv", DIGITS, options);

/** Cora with Planetoid's split: 140 / 500 / 1,000 of 2,708 nodes. */
export const loadCora = (options: OpenOptions & { readonly seed?: number } = {}): Promise<CitationGraph> =>
  citationGraph(openData("cora", options), options);

/** MovieLens 100K: within each user 20 % test, then 10 % of the rest validation, drawn by seed. */
export const loadMovieLens = (options: OpenOptions & UserSplitOptions): Promise<MovieLens> =>
  movieLensSplits(openData("ml-100k", options), options);

/** Images for super-resolution and denoising: train on 400 grey ones, choose on Set12, test on the luma of Set5. */
export const loadBsd400 = (options: OpenOptions = {}): Promise<Image[]> => readImages(openData("bsd400", options));
export const loadSet12 = (options: OpenOptions = {}): Promise<Image[]> => readImages(openData("set12", options));
export const loadSet5 = (options: OpenOptions = {}): Promise<Image[]> => readImages(openData("set5", options));
