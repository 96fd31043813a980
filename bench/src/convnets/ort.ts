/** ONNX Runtime's side of `convnets`: the same networks from the ONNX files that Lacuna writes, one session each. */
import { netToOnnx, ONNX_INPUT, ONNX_OUTPUT } from "../../../src/models/convnets/onnx.ts";
import { type OrtKind, ortSession } from "../peers/ort.ts";
import type { Contest, Contestant } from "./contest.ts";

export interface OrtContest extends Contest {
  readonly kind: OrtKind;
}

export async function open({ nets, images, kind }: OrtContest): Promise<Contestant> {
  const runs = new Map<string, (() => Promise<Readonly<Record<string, { readonly data: unknown }>>>)[]>();
  for (const [id, net] of Object.entries(nets)) {
    const session = await ortSession(kind, netToOnnx(net));
    const { channels, height, width } = net.shape.input;
    const dims = [1, channels, height, width];
    runs.set(
      id,
      images.map((data) => session.prepared({ [ONNX_INPUT]: { data, dims } })),
    );
  }
  let at = 0;
  const of = (id: string, i: number) => {
    const found = runs.get(id);
    if (!found) throw new Error(`bench: no network ${id}`);
    return found[i % found.length];
  };
  return {
    run: (id) => of(id, at++)().then(() => undefined),
    async logits(id) {
      return ((await of(id, 0)())[ONNX_OUTPUT].data as Float32Array).slice();
    },
  };
}
