/** Wanda: in each output row (or row group of a block) the smallest |W_rc| ||X_c||_2 go. No weight update. */
import { wandaScore } from "../../sparsity/score.ts";
import { present, scoring } from "./method.ts";

export const wanda = scoring(
  {
    id: "wanda",
    title: "Wanda",
    paper: {
      title: "A Simple and Effective Pruning Approach for Large Language Models",
      authors: "Sun, Liu, Bair, Kolter",
      year: 2024,
      arxiv: "2306.11695",
    },
    needs: { norms: true },
  },
  "row",
  (layer) => wandaScore(layer.weights, layer.shape.columns, present(layer.statistics.norms, "norms", layer)),
);
