"""Pretraining images/s: `rin.pretraining` against plain Keras `fit` on a folder of image files.

    python benchmarks/pretraining_throughput.py [--data DIR [--task folder]] [--n-images N]
        [--backbones resnet50 …] [--ways rin map model files] [--policies rand_augment …]
        [--augmentation small] [--precision float32] [--image-size 224] [--batch-size 32]
        [--steps 20] [--repeats 3] [--no-loader] [--csv results/costs]

Network, optimizer, loss, batch size, precision and `jit_compile` are the same in every way:

- `rin`: the image store, the stream, and the keyed affine map in the network's graph;
- `map`: `image_dataset_from_directory`, Keras's random layers in `Dataset.map`, prefetched;
- `model`: the same, the random layers in the network's graph;
- `files`: a `PyDataset` that reads files in threads, the random layers in the graph. It stands in
  where TensorFlow is missing, which `map` and `model` need on every backend.

Each way has a process of its own, since `rin` makes TensorFlow deterministic and plain Keras does
not, and they take turns, every other round in reverse. The batch that traces and compiles is timed
apart (`warm_up_s`). `seconds` is the median of the rounds. `times` is the median of the rates over
those of the fastest plain way in the same round. `--policies` adds `rin` with each of them.

Training shows `--steps` batches. Beside it, once for all backbones, stand whole epochs without a
network: `batches` as the processor hands them over, and `inputs`, augmented and prepared. The
first epoch of `inputs` lists the files, and `rin` writes its store in it. Images are whole batches,
all of them trained on, and read once beforehand, so that no way pays for a cold disk. Without
`--data` they are phantoms.
"""

import argparse
import contextlib
import importlib.util
import multiprocessing
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import keras
import measured
import pretraining_ways
from pretraining_ways import LOADER, WAYS
from train_all_on_gpu import NO_ROOM

from rin import augment, datasets, devices, phantoms, scenarios
from rin.pretraining import policies
from rin.pretraining.recipe import Recipe

N_PHANTOMS = 512
READ_BY_KERAS = (".png", ".jpg", ".jpeg", ".bmp")
KEY = ["backbone", "what", "way", "policies", "augmentation", "precision", "image_size"]
KEY += ["batch_size", "n_images", "phantom", "backend"]
# processes share a card: none may take all of its memory
SHARED = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def link(task, root, n, batch_size, folder):
    """One folder a class, of links to its images: `CT/lung/Nodule` becomes `CT_lung_Nodule`.

    Every way then shows the same images: none that the reader leaves out, and no more than asked.

    Args:
        task: "radimagenet" or "folder".
        root: folder of the download.
        n: images, all of them with None; what is left of a batch is left out.
        batch_size: images a batch.
        folder: where the links go.

    Returns:
        The manifest of the linked images.

    Raises:
        ValueError: fewer than a batch, images that Keras does not read, or two classes of one name.
    """
    frame = measured.thin(datasets.read(task, root, duplicates=False), n)
    whole = len(frame) // batch_size * batch_size
    if not whole:
        raise ValueError(
            f"`--batch-size` should be at most the {len(frame)} images. Received: {batch_size}"
        )
    frame = measured.thin(frame, whole)
    kinds = frame["image"].map(lambda name: Path(name).suffix.lower())
    unread = sorted(set(kinds) - set(READ_BY_KERAS))
    if unread:
        raise ValueError(f"`--data` should hold {', '.join(READ_BY_KERAS)} files. Found: {unread}")
    homes = frame["label"].str.replace("/", "_")
    if homes.nunique() != frame["label"].nunique():
        raise ValueError("classes of `--data` should differ by more than / and _: rename a folder")
    for row, (name, home, kind) in enumerate(zip(frame["image"], homes, kinds, strict=True)):
        (folder / home).mkdir(parents=True, exist_ok=True)
        (folder / home / f"{row:07d}{kind}").symlink_to((Path(root) / name).resolve())
    return frame


def lacking(name, policy):
    """Why a way can't be measured here; "" where it can."""
    mixed = policy != "none"
    needed = ["tensorflow"] if mixed or name in ("map", "model") else []
    needed += ["keras_cv"] if mixed else []
    absent = [package for package in needed if importlib.util.find_spec(package) is None]
    asking = f"the policy {policy}" if mixed else "image_dataset_from_directory"
    return f"{asking} needs {' and '.join(absent)}: not installed here" if absent else ""


def measure(job, ways, repeats):
    """Measure every way in turns.

    Args:
        job: a `pretraining_ways.Job`.
        ways: list of (key of `WAYS`, policies joined by "+" or "none").
        repeats: rounds.

    Returns:
        dict from (what, way) to (seconds of the warm-up, list of the seconds of each round), or
        to the reason why there is none.
    """
    reasons = {way: lacking(*way) for way in ways}
    with contextlib.ExitStack() as stack:
        pools = {way: stack.enter_context(_process()) for way in ways if not reasons[way]}
        for (name, policy), pool in pools.items():
            asked = replace(job.recipe, policies=policies.parse(policy))
            pool.submit(pretraining_ways.begin, name, replace(job, recipe=asked)).result()
        warm_ups = {}
        for way in [*pools]:
            try:
                warm_ups[way] = _seconds(pools[way], None)
            except Exception as error:
                if not any(text in str(error) for text in NO_ROOM):
                    raise
                reasons[way] = "the device has no room for it"
                pools.pop(way).shutdown()
        rounds = {(what, way): [] for what in job.whats for way in pools}
        for what in job.whats:
            for number in range(1, repeats + 1):
                for way in [*pools][:: 1 if number % 2 else -1]:
                    rounds[what, way].append(_seconds(pools[way], what, number))
    return {
        (what, way): (warm_ups[way], rounds[what, way]) if way in warm_ups else reasons[way]
        for what in job.whats
        for way in ways
    }


def rows(found, job):
    """What `measure` found as rows of the table, a list of dicts."""
    made = []
    for (what, (name, policy)), result in found.items():
        row = {"backbone": job.backbone, "what": what, "way": name, "policies": policy}
        if isinstance(result, str):
            row |= dict.fromkeys(["warm_up_s", "seconds", "images_per_s", "times"], float("nan"))
            made.append(row | {"note": result})
            continue
        warm_up, seconds = result
        median, best = statistics.median(seconds), _best(found, what)
        times = [theirs / ours for theirs, ours in zip(best or seconds, seconds, strict=True)]
        made.append(
            row
            | {"warm_up_s": round(warm_up, 2), "seconds": round(median, 3)}
            | {"images_per_s": round(job.n_shown(what) / median, 2)}
            | {"times": round(statistics.median(times), 3) if best else float("nan"), "note": ""}
        )
    return made


def _best(found, what):
    """The rounds of the fastest plain way; None where there is none."""
    plain = [
        result[1]
        for (asked, (name, _)), result in found.items()
        if asked == what and name != "rin" and not isinstance(result, str)
    ]
    return min(plain, key=statistics.median, default=None)


def _process():
    """A process of one worker that has inherited no backend."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _seconds(pool, what, epoch=0):
    return pool.submit(pretraining_ways.seconds_of, what, epoch).result()


def main(arguments=None):
    """Print the rows of a backbone when they are measured, and keep them."""
    args = _arguments(arguments)
    for name, value in SHARED.items():
        os.environ.setdefault(name, value)
    ways = [(name, "none") for name in args.ways]
    ways += [("rin", policy) for policy in args.policies]
    with measured.scratch(args.folder) as scratch:
        root, task = args.data, args.task
        if root is None:
            n, size = args.n_images or N_PHANTOMS, args.image_size
            root, task = phantoms.write("radimagenet", scratch / "raw", n, size=size), "radimagenet"
        frame = link(task, root, args.n_images, args.batch_size, scratch / "classes")
        for name in frame["image"]:
            (root / name).read_bytes()
        facts = _facts(args) | {"n_images": len(frame)}
        facts["phantom"] = datasets.is_phantom(root) is not None
        for backbone in [*([] if args.no_loader else [LOADER]), *args.backbones]:
            job = pretraining_ways.Job(
                folder=scratch / "classes",
                scratch=scratch,
                backbone=backbone,
                image_size=args.image_size,
                n_images=len(frame),
                n_classes=frame["label"].nunique(),
                steps=args.steps,
                recipe=Recipe(
                    batch_size=args.batch_size,
                    augmentation=args.augmentation,
                    precision=args.precision,
                ),
            )
            for row in rows(measure(job, ways, args.repeats), job):
                print(row, flush=True)
                file = args.csv and args.csv / "pretraining_throughput.csv"
                measured.keep(row | facts, file, KEY)


def _facts(args):
    """The columns that all rows share."""
    names = ["augmentation", "precision", "image_size", "batch_size", "steps", "repeats"]
    return {name: getattr(args, name) for name in names} | {"backend": keras.backend.backend()}


def _arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of a download; default phantoms")
    parser.add_argument("--task", choices=["radimagenet", "folder"], default="radimagenet")
    parser.add_argument("--n-images", type=int, help="default all of them")
    parser.add_argument(
        "--backbones", nargs="*", choices=scenarios.BACKBONES, default=list(scenarios.BACKBONES)
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=_usual_ways())
    parser.add_argument("--policies", nargs="+", default=[], help="such as rand_augment+cut_mix")
    parser.add_argument("--augmentation", choices=augment.RANGES, default="small")
    parser.add_argument("--precision", choices=devices.PRECISIONS, default="float32")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="batches that a round trains on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-loader", action="store_true", help="training alone")
    parser.add_argument("--folder", type=Path, help="below it lie stores while it runs")
    parser.add_argument("--csv", type=Path, help="folder of the tables")
    return parser.parse_args(arguments)


def _usual_ways():
    """Without TensorFlow the `PyDataset` too, beside the reason why others are missing."""
    alone = importlib.util.find_spec("tensorflow") is None
    return [name for name in WAYS if alone or name != "files"]


if __name__ == "__main__":
    main()
