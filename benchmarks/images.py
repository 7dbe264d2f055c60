"""Time the image layers beside Keras's, Pillow and OpenCV; write `benchmarks/images.md`.

`python benchmarks/images.py` runs each library and backend in a process of its own, on one thread
where it can be told so. They take turns; times are CPU seconds for images of 224x224x3, floats
(bytes for Pillow and OpenCV), least and median of the rounds after the first calls, which do not count.
`--smoke` runs small images once; `--only NAME` some layers; `--backends jax` some backends.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

FACTOR = dict(factor=0.3)
ROWS = {
    "Resizing": dict(height=160, width=160),
    "CenterCrop": dict(height=160, width=160),
    "RandomFlip": {},
    "RandomRotation": dict(factor=0.2),
    "RandomZoom": dict(height_factor=0.3),
    "RandomTranslation": dict(height_factor=0.3, width_factor=0.3),
    "RandomShear": dict(x_factor=0.3, y_factor=0.2),
    "RandomCrop": dict(height=160, width=160),
    "RandomPerspective": {},
    "RandomElasticTransform": dict(scale=(0.9, 1.0)),
    "RandomBrightness": FACTOR,
    "RandomContrast": FACTOR,
    "RandomHue": FACTOR,
    "RandomSaturation": FACTOR,
    "RandomGrayscale": {},
    "RandomColorDegeneration": FACTOR,
    "RandomColorJitter": {f"{k}_factor": 0.2 for k in ("brightness", "contrast", "saturation", "hue")},
    "RandomSharpness": FACTOR,
    "RandomPosterization": dict(factor=4),
    "RandomInvert": {},
    "RandomGaussianBlur": {},
    "RandomErasing": {},
    "Solarization": dict(addition_factor=0.2, threshold_factor=0.5),
    "AutoContrast": {},
    "Equalization": {},
    "ContrastLimitedAdaptiveHistogramEqualization": {},
    "CutMix": {},
    "MixUp": {},
    "AugMix": {},
    "RandAugment": {},
}  # fmt: skip
SHAPE = (64, 224, 224, 3)
SMALL = (4, 16, 16, 3)


# One library in a process -------------------------------------------------------------------------
def others():
    """What Pillow and OpenCV do to one image of bytes, by the layer's name."""
    import cv2
    import numpy as np
    from PIL import ImageOps
    from PIL.Image import fromarray

    cv2.setNumThreads(1)
    turn = lambda x: cv2.getRotationMatrix2D((x.shape[1] / 2, x.shape[0] / 2), 30, 1.0)
    border = dict(borderMode=cv2.BORDER_REFLECT)
    clahe = cv2.createCLAHE(4.0, (8, 8))
    by_channel = lambda f: lambda x: np.stack([f(x[..., i].copy()) for i in range(3)], -1)
    pillow = lambda f: lambda x: f(fromarray(x))
    return {
        "Resizing": lambda x: cv2.resize(x, (x.shape[1] * 5 // 7, x.shape[0] * 5 // 7)),
        "RandomFlip": lambda x: cv2.flip(x, -1),
        "RandomRotation": lambda x: cv2.warpAffine(x, turn(x), x.shape[1::-1], **border),
        "RandomBrightness": lambda x: cv2.convertScaleAbs(x, alpha=1.0, beta=20.0),
        "RandomGaussianBlur": lambda x: cv2.GaussianBlur(x, (3, 3), 0.5),
        "Equalization": by_channel(cv2.equalizeHist),
        "ContrastLimitedAdaptiveHistogramEqualization": by_channel(clahe.apply),
        "AutoContrast": pillow(ImageOps.autocontrast),
        "Solarization": pillow(ImageOps.solarize),
        "RandomPosterization": pillow(lambda x: ImageOps.posterize(x, 4)),
        "RandomInvert": pillow(ImageOps.invert),
    }


def worker(library, shape):
    """Answer each line, the name of a layer, by the CPU seconds of a call."""
    import numpy as np

    x = np.random.default_rng(0).integers(0, 256, shape)
    if library == "others":
        pictures, table = list(x.astype("uint8")), others()
        made = {name: lambda f=f: [f(v) for v in pictures] for name, f in table.items()}
        wait = lambda y: y
    else:
        import importlib

        package = importlib.import_module(library)
        x = package.ops.convert_to_tensor(x.astype("float32"))
        made, wait = {}, lambda y: package.ops.convert_to_numpy(y[:1, :1, :1])
    for line in sys.stdin:
        name = line.strip()
        try:
            if library != "others" and name not in made:
                made.clear()
                layer = getattr(package.layers, name)(**fitted(name, shape))
                made[name] = lambda: layer(x, training=True)
            start = time.process_time()
            wait(made[name]())
            print(time.process_time() - start, flush=True)
        except Exception as error:
            print(f"{type(error).__name__}: {error}".replace("\n", " ")[:200], file=sys.stderr)
            print("nan", flush=True)


def fitted(name, shape):
    """The row's arguments, sizes in proportion to the images."""
    kwargs = dict(ROWS[name])
    return {k: v * shape[1] // 224 if k in ("height", "width") else v for k, v in kwargs.items()}


# All of them --------------------------------------------------------------------------------------
def started(library, backend, shape):
    threads = {f"{k}_NUM_THREADS": "1" for k in ("OMP", "OPENBLAS", "TF_NUM_INTRAOP")}
    env = {**os.environ, **threads, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
    env |= {"ONEIROS_BACKEND": backend, "KERAS_BACKEND": backend}
    command = [sys.executable, __file__, "--worker", library, "--shape", *map(str, shape)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return subprocess.Popen(command, env=env, **pipes)


def ask(process, name):
    print(name, file=process.stdin, flush=True)
    return float(process.stdout.readline() or "nan")


def measured(names, backends, shape, rounds, warm):
    """Name to column to the times of the rounds."""
    table = {name: {} for name in names}
    for backend in backends:
        pair = [started(library, backend, shape) for library in ("oneiros", "keras")]
        for name in names:
            for process, calls in zip(pair, (warm, 1)):
                _ = [ask(process, name) for _ in range(calls)]
            times = [[ask(process, name) for process in pair] for _ in range(rounds)]
            table[name][backend] = tuple(zip(*times))
            print(name, backend, *(f"{min(t):.3f}" for t in zip(*times)), flush=True)
        for process in pair:
            process.stdin.close()
            process.wait()
    return table


def written(table, backends, lone, shape):
    """The table in Markdown."""
    head = ["layer", *(f"{b}: ours, Keras's, ratio (median)" for b in backends), "Pillow, OpenCV"]
    title = "# Image layers beside Keras's"
    lines = [
        title,
        "",
        "Written by `benchmarks/images.py`.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    ratios = {b: [] for b in backends}
    for name, row in table.items():
        cells = [name]
        for b in backends:
            ours, theirs = ([t for t in times if t == t] for times in row[b])
            if not ours or not theirs:
                cells.append(f"{min(ours) * 1000:.0f}, –" if ours else "–")
                continue
            least = min(ours) / min(theirs)
            middle = statistics.median(ours) / statistics.median(theirs)
            ratios[b].append(least)
            cells.append(
                f"{min(ours) * 1000:.0f}, {min(theirs) * 1000:.0f}, {least:.2f} ({middle:.2f})"
            )
        cells.append(f"{lone[name] * 1000:.0f}" if name in lone else "")
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Milliseconds of CPU time for images of {shape}, the least of the rounds.", ""]
    for b, found in ratios.items():
        if found:
            lines.append(
                f"- {b}: the median of the ratios is {statistics.median(found):.2f}, the largest "
                f"{max(found):.2f}."
            )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", nargs="+", default=list(ROWS))
    parser.add_argument("--backends", nargs="+", default=["jax", "torch", "tensorflow"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", default=str(pathlib.Path(__file__).with_suffix(".md")))
    parser.add_argument("--worker")
    parser.add_argument(
        "--shape", nargs=4, type=int, default=SHAPE, help="of the images: 64 224 224 3"
    )
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker, tuple(args.shape))
    if args.smoke:
        names = ["Resizing", "RandomRotation", "RandomHue", "CutMix"]
        table = measured(names, ["numpy"], SMALL, 1, 1)
        assert all(t == t for row in table.values() for t in row["numpy"][0])
        return None
    table = measured(args.only, args.backends, tuple(args.shape), args.rounds, 2)
    alone, lone = started("others", "numpy", tuple(args.shape)), {}
    for name in args.only:
        found = min(ask(alone, name) for _ in range(3))
        if found == found:
            lone[name] = found
    alone.stdin.close()
    pathlib.Path(args.out).write_text(written(table, args.backends, lone, args.shape))
    return None


if __name__ == "__main__":
    main()
