/** Matrix factorisation (Koren et al. 2009): a score is the dot product of two trained rows; no biases. */
import { type Recommender, type RecommenderOptions, recommender } from "./recommender.ts";

export const matrixFactorisation = (options: RecommenderOptions): Recommender => recommender(options, (own) => own);
