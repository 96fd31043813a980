/**
 * Cross-entropy within groups of classes: a row's softmax runs over the group of its label only, as if the other logits
 * were minus infinity. What a task of its own asks of a network whose last layer serves all tasks.
 */
import { exp, ln } from "../../core/elementary.ts";
import { demand } from "../../core/errors.ts";
import { record } from "../../core/tape.ts";
import { full, type Tensor, zeros } from "../../core/tensor.ts";

/** The group of each class, from lists of classes; classes in no list are groups of their own. */
export function groupOfClass(classes: number, lists: readonly (readonly number[])[]): Int32Array {
  const groups = Int32Array.from({ length: classes }, (_, c) => lists.length + c);
  lists.forEach((list, i) => {
    for (const c of list) groups[c] = i;
  });
  return groups;
}

/**
 * Mean over rows of -log softmax within the group of the row's label. `logits` [N, C], `labels` i32 [N], `groups` [C].
 * The gradient of logits outside of a row's group is 0 exactly. Throws `LacunaError` when the sizes differ.
 */
export function groupCrossEntropy(logits: Tensor, labels: Tensor, groups: Int32Array): Tensor {
  const [rows, cols] = logits.shape;
  const wanted = labels.i32.slice();
  demand(
    logits.shape.length === 2 &&
      wanted.length === rows &&
      groups.length === cols &&
      wanted.every((y) => y >= 0 && y < cols),
    () => ({
      about: "cross-entropy within groups",
      expected: "logits [N, C], N labels below C, and the group of each of C classes",
      got: `[${logits.shape.join(", ")}], ${wanted.length} labels up to ${Math.max(...wanted)}, ${groups.length} groups`,
      hint: "Check labels and groups against the number of classes.",
    }),
  );
  const x = logits.f32;
  const share = new Float64Array(rows * cols);
  let total = 0;
  for (let r = 0; r < rows; r++) {
    const at = r * cols;
    const group = groups[wanted[r]];
    let most = Number.NEGATIVE_INFINITY;
    for (let c = 0; c < cols; c++) if (groups[c] === group && x[at + c] > most) most = x[at + c];
    let sum = 0;
    for (let c = 0; c < cols; c++) if (groups[c] === group) sum += share[at + c] = exp(x[at + c] - most);
    for (let c = 0; c < cols; c++) share[at + c] /= sum;
    total += most + ln(sum) - x[at + wanted[r]];
  }
  return record("groupCrossEntropy", [logits], full([1], total / rows), (dy) => {
    const dx = zeros(logits.shape);
    const g = dx.f32;
    const by = dy.item() / rows;
    for (let i = 0; i < g.length; i++) g[i] = by * share[i];
    for (let r = 0; r < rows; r++) g[r * cols + wanted[r]] = by * (share[r * cols + wanted[r]] - 1);
    return [dx];
  });
}
