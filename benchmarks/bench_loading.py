"""Time to load images, against reading the bytes and against a simple decoding loop.

    python benchmarks/bench_loading.py                # 60 000 images of 32 x 32
    python benchmarks/bench_loading.py 6000           # fewer

Writes the same images to a temporary folder as PNG files and as TFDS sets in both file formats.
Each is read in three ways, in separate processes: (a) the raw bytes of all files; (b) a loop that
decodes every image into one array, by Pillow or by the reader of TFDS; (c)
`repdyn_keras.datasets.load`. Seconds are the median of three, without imports, with the files in
the page cache. Peak memory includes imports.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CLASSES, SIDE, REPEATS = 10, 32, 3
SETS = ("folder", "array_record", "tfrecord")
WAYS = ("bytes", "loop", "load")


def pictures(count: int):
    """Smooth random images and their labels, one at a time."""
    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        fine = rng.integers(0, 16, (SIDE, SIDE, 3), dtype=np.uint8)
        yield (
            coarse.repeat(SIDE // 8, axis=0).repeat(SIDE // 8, axis=1) // 2 + fine,
            index % CLASSES,
        )


def make(root: Path, count: int) -> None:
    """Writes the images as PNG files in class folders and as TFDS sets."""
    import tensorflow_datasets as tfds
    from PIL import Image

    for label in range(CLASSES):
        (root / "folder" / f"class{label}").mkdir(parents=True)
    paths = []
    for index, (pixels, label) in enumerate(pictures(count)):
        paths.append((root / "folder" / f"class{label}" / f"{index:06d}.png", label))
        Image.fromarray(pixels).save(paths[-1][0])

    class Pictures(tfds.core.GeneratorBasedBuilder):
        """The same images as a TFDS set."""

        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = None

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(SIDE, SIDE, 3)),
                "label": tfds.features.ClassLabel(num_classes=CLASSES),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for path, label in paths:
                yield path.name, {"image": str(path), "label": label}

    for file_format in SETS[1:]:
        builder = Pictures(data_dir=root / file_format, file_format=file_format)
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )


def read_bytes(root: Path, kind: str) -> int:
    """(a) Reads all bytes of all files."""
    return sum(len(path.read_bytes()) for path in (root / kind).rglob("*.*") if path.is_file())


def plain_loop(root: Path, kind: str) -> np.ndarray:
    """(b) Decodes every image in a loop, without checks."""
    if kind == "folder":
        from PIL import Image

        images = []
        for path in sorted((root / kind).rglob("*.png")):
            with Image.open(path) as image:
                images.append(np.asarray(image))
        return np.stack(images)
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(root / kind / "pictures" / "1.0.0")
    if kind == "array_record":
        return np.stack([example["image"] for example in builder.as_data_source("train")])
    records = builder.as_dataset(split="train", shuffle_files=False)
    return np.stack([example["image"] for example in tfds.as_numpy(records)])


def our_load(root: Path, kind: str) -> object:
    """(c) Loads the images as a run does."""
    from repdyn_keras.config import Config
    from repdyn_keras.datasets import load

    if kind == "folder":
        return load(Config(dataset=f"folder:{root / kind}"))
    return load(Config(dataset="tfds:pictures", data_dir=str(root / kind)))


def measure(root: Path, kind: str, way: str) -> None:
    """Reads once in this process; prints the seconds and the peak memory in MiB."""
    if way != "bytes":
        # Imports are not timed.
        import sklearn.model_selection  # noqa: F401

        import repdyn_keras.datasets  # noqa: F401

        if kind != "folder":
            import tensorflow_datasets.public_api  # noqa: F401
        if kind == "tfrecord":
            import tensorflow  # noqa: F401
    start = time.perf_counter()
    {"bytes": read_bytes, "loop": plain_loop, "load": our_load}[way](root, kind)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, peak]))


def in_a_process(*arguments) -> str:
    """The last line that this file prints with these arguments."""
    command = [sys.executable, __file__, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return result.stdout.strip().rpartition("\n")[2]


def main() -> None:
    """Makes the images and prints the table."""
    if len(sys.argv) > 2:
        root = Path(sys.argv[2])
        if sys.argv[1] == "make":
            make(root, int(sys.argv[3]))
        else:
            measure(root, sys.argv[3], sys.argv[1])
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    with tempfile.TemporaryDirectory() as folder:
        in_a_process("make", folder, count)
        print(f"{count} images of {SIDE} x {SIDE}\n")
        print("| stored as | (a) bytes, s | (b) loop, s | (c) load, s | c/b | c/a | MiB a, b, c |")
        print("|---|---|---|---|---|---|---|")
        for kind in SETS:
            seconds, peaks = [], []
            for way in WAYS:
                laps = [json.loads(in_a_process(way, folder, kind)) for _ in range(REPEATS)]
                seconds.append(statistics.median(lap[0] for lap in laps))
                peaks.append(statistics.median(lap[1] for lap in laps))
            a, b, c = seconds
            memory = ", ".join(f"{peak:.0f}" for peak in peaks)
            print(
                f"| {kind} | {a:.2f} | {b:.2f} | {c:.2f} | {c / b:.2f} | {c / a:.2f} | {memory} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
