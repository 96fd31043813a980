/** Magnitude pruning: the smallest |W| of the matrix go. No data, no weight update. */
import { magnitudeScore } from "../../sparsity/score.ts";
import { scoring } from "./method.ts";

export const magnitude = scoring(
  {
    id: "magnitude",
    title: "Magnitude",
    paper: {
      title: "Learning both Weights and Connections for Efficient Neural Networks",
      authors: "Han, Pool, Tran, Dally",
      year: 2015,
      arxiv: "1506.02626",
    },
    needs: {},
  },
  "matrix",
  ({ weights, shape }) => magnitudeScore(weights, shape.columns),
);
