"""What is timed on each backend, and the bars: how long it may take at most.

A case is `kind:name`; its kind is the function `kind` in `cases.py`. A new backend needs no line here:
it gets all cases. Its bars are a line in `BARS`.
"""

from typing import NamedTuple

MODELS = ("mlp", "cnn", "cnn_wide", "lstm", "transformer")
LOOPS = ("fit", "evaluate", "predict", "predict_one", "train_on_batch")
OPS = ("exp", "add", "add_number", "reshape", "relu", "matmul", "mean", "softmax")

# Lines of cases share a worker; those in LIVING are timed round by round in a living process, those
# in FRESH each time in a new one, and those in ONCE a single time.
LIVING = [
    *([f"{kind}:{name}" for kind in LOOPS[: 3 if "wide" in name else 5]] for name in MODELS),
    ["call:dense", "call:mlp", *[f"dispatch:{name}" for name in OPS]],
    [f"{kind}:dense100" for kind in ("save", "load", "save_weights", "load_weights")],
]
FRESH = [
    "import:package",
    *(f"build:{name}" for name in ("mlp", "resnet50", "dense100")),
    *(f"first_step:{name}" for name in ("mlp", "cnn", "lstm", "transformer")),
    "script:mlp",
]
ONCE = [
    *(f"difference:{name}" for name in MODELS),
    "engines:mlp",
    *(f"memory:{name}" for name in ("steps", "fits", "models", "predict")),
]
OWN = [f"fit_own:{name}" for name in ("mlp", "cnn", "lstm")]  # with a `train_step` of the user's
OWN_ON = ("torch", "tensorflow")
# Backends over engines that Keras does not have are raced against the numpy backend, in wall time:
# part of the work is another process's, or the engine's own threads'.
ENGINES = ("pytensor", "cntk", "dl4j")
OF_ENGINES = {"fit", "predict", "predict_one", "first_step", "memory"}
SMOKE = ("mlp", "dense", "add", "softmax", "package", "dense100", "steps", "predict")
LEFT_OUT = {"numpy": ("cnn", "cnn_wide", "lstm", "transformer")}  # by names of cases

UNITS = {
    **dict.fromkeys(("save", "load", "save_weights", "load_weights"), "ms"),
    **dict.fromkeys(("import", "build", "first_step", "script"), "ms"),
    **dict.fromkeys(("fit", "fit_own", "evaluate", "predict", "train_on_batch"), "us a step"),
    "memory": "KiB more",
    "engines": "imported",
    "difference": "of losses",
    "dispatch": "us more",
}


class Bar(NamedTuple):
    """Oneiros takes at most `limit` times what the contender `of` takes, or `limit` units."""

    case: str
    limit: float
    of: str = ""


EVERYWHERE = [
    Bar("import:package", 300),
    Bar("import:package", 1 / 2, "keras"),
    Bar("engines:mlp", 0),
    *(Bar(f"dispatch:{name}", 1) for name in ("exp", "add", "add_number")),
    *(Bar(f"memory:{name}", 1024) for name in ("steps", "fits")),
    Bar("memory:predict", 16 * 1024),  # of a result of 100 MiB; batches under way count
]
# What PyTorch and TensorFlow share.
FITS = [
    *(Bar(case, 1.1, "by hand") for case in OWN),
    *(
        Bar(f"fit:{name}", most, of)
        for name in ("cnn", "lstm", "transformer")
        for most, of in ((0.75, "keras"), (1, "by hand"))
    ),
]
BARS = {
    "jax": [
        Bar("fit:mlp", 0.65, "keras"),
        Bar("fit:mlp", 0.9, "by hand"),
        Bar("fit:cnn", 0.8, "by hand"),
        Bar("fit:cnn_wide", 0.8, "by hand"),
        Bar("fit:lstm", 1, "by hand"),
        Bar("fit:transformer", 1, "by hand"),
        Bar("build:resnet50", 1 / 5, "keras"),
        Bar("load:dense100", 1 / 3, "keras"),
    ],
    "torch": [
        Bar("fit:mlp", 0.25, "keras"),
        Bar("fit:mlp", 0.8, "by hand"),
        *FITS,
        *(Bar(case, 1 / 4, "keras") for case in ("predict_one:mlp", "call:mlp")),
        *(Bar(case, 3, "by hand") for case in ("predict_one:mlp", "call:mlp")),
        Bar("memory:models", 1024),
        *(
            Bar(case, 1 / 2, "keras")
            for case in ("first_step:mlp", "first_step:lstm", "build:dense100")
        ),
    ],
    "tensorflow": [Bar("fit:mlp", 0.3, "keras"), Bar("fit:mlp", 0.6, "by hand"), *FITS],
    "numpy": [Bar("fit:mlp", 1.5, "by hand")],
    "pytensor": [
        Bar("fit:mlp", 1.2, "numpy"),
        *(Bar(f"fit:{m}", 1, "numpy") for m in MODELS[1:4:2]),
    ],
    "dl4j": [Bar("fit:mlp", 1.5, "numpy"), Bar("fit:cnn", 1, "numpy")],
    "cntk": [Bar("fit:mlp", 6, "numpy"), Bar("fit:cnn", 1, "numpy")],
}


def unit_of(case):
    return UNITS.get(case.split(":")[0], "us")


def clock_of(backend):
    return "wall" if backend in ENGINES else "cpu"


def contenders_of(backend):
    """Who is raced on a backend; "numpy" is Oneiros on that backend."""
    return ("numpy", "oneiros") if backend in ENGINES else ("keras", "by hand", "oneiros")


def cases_of(backend):
    """The lines of living cases, the fresh ones and those that run once, for a backend."""
    out = LEFT_OUT.get(backend, ())

    def kept(cases):
        rows = (c.split(":") for c in cases)
        return [
            f"{kind}:{name}"
            for kind, name in rows
            if name not in out and (backend not in ENGINES or kind in OF_ENGINES)
        ]

    living = [*LIVING, OWN] if backend in OWN_ON else LIVING
    return list(filter(None, map(kept, living))), kept(FRESH), kept(ONCE)


def bars_of(backend, case=None):
    everywhere = [b for b in EVERYWHERE if backend not in ENGINES or b.case == "memory:steps"]
    # PyTorch's own Adam, by hand, means another thing by epsilon; Keras does not train on NumPy.
    of = "by hand" if backend == "numpy" else "keras"
    everywhere += [Bar(f"difference:{name}", 1e-3, of) for name in MODELS]
    bars = [*BARS.get(backend, ()), *everywhere]
    return bars if case is None else [b for b in bars if b.case == case]
