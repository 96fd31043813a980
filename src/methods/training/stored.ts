/** Any method of sparse training with its weights stored sparse from the first step on. */
import type { SparseTraining } from "../../sparsity/hook.ts";

/** Masked weights whose layer can run it become CSR once the masks stand; the others stay masked. */
export const storedSparse = <M extends SparseTraining>(method: M): M => ({
  ...method,
  begin(b) {
    method.begin?.(b);
    for (const { param } of b.sites) {
      if (param.mask && param.off === "zero" && param.storages.includes("csr")) param.as("csr");
    }
  },
});
