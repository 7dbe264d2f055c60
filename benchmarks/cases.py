"""The worker of `run.py`: it prepares a case, and times it each time it is told to go.

A case is a function here: it gives what is to be timed and by how much to divide the time, or a
function of no arguments that measures something else and a divisor of None.
"""

import gc
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENGINES = ("jax", "torch", "tensorflow", "pytensor", "cntk", "jpype")


class Contender:
    """Who is timed: Keras, Oneiros, or code by hand, on one backend; `small` for smoke tests."""

    def __init__(self, name, backend, small):
        self.name, self.backend, self.small = name, backend, small
        self.by_hand = name == "by hand"

    @property
    def keras(self):
        """The Keras API."""
        if self.by_hand:
            raise RuntimeError("nothing to compare by hand")
        return importlib.import_module(self.name)

    @property
    def loops(self):
        """What is written by hand for the backend."""
        return importlib.import_module(f"loops_{self.backend}")

    def model(self, name, weights=None):
        """The model `name`, ready to train."""
        import models

        if self.by_hand:
            if name not in self.loops.TRAINS:
                raise RuntimeError(f"no loop by hand for {name}")
            return self.loops.Loop(name, weights)
        model = models.compiled(self.keras, name)
        if weights is not None:
            model.set_weights(weights)
        return model

    def trained(self, name, quiet=True):
        """A model, data, the steps in them, the batch, and the options of Keras's loops."""
        import models

        steps = 2 if self.small else models.MODELS[name].steps
        batch = models.MODELS[name].batch
        options = {} if self.by_hand else {"verbose": 0}
        return self.model(name), *models.data(name, steps), steps, batch, options


# ---- loops ---------------------------------------------------------------------------------------


def fit(name, who):
    model, x, y, steps, batch, options = who.trained(name)
    if not who.by_hand:
        options = {**options, "batch_size": batch, "epochs": 1}
    return lambda: model.fit(x, y, **options), steps


def fit_own(name, who):
    """`fit` with a `train_step` of the user's own, in the framework's style."""
    import models

    if who.by_hand:
        return fit(name, who)
    kind = who.loops.own_model(who.keras)
    plain = models.build(who.keras, name)
    own = kind(plain.inputs, plain.outputs)
    model = models.ready(who.keras, own)
    _, x, y, steps, batch, options = who.trained(name)
    options = {**options, "batch_size": batch, "epochs": 1}
    return lambda: model.fit(x, y, **options), steps


def evaluate(name, who):
    model, x, y, steps, batch, options = who.trained(name)
    if not who.by_hand:
        options = {**options, "batch_size": batch}
    return lambda: model.evaluate(x, y, **options), steps


def predict(name, who):
    model, x, _, steps, batch, options = who.trained(name)
    if not who.by_hand:
        options = {**options, "batch_size": batch}
    return lambda: model.predict(x, **options), steps


def predict_one(name, who):
    model, x, _, _, _, options = who.trained(name)
    count = 1 if who.small else 20
    return lambda: [model.predict(x[:1], **options) for _ in range(count)], count


def train_on_batch(name, who):
    model, x, y, steps, batch, _ = who.trained(name)
    parts = [slice(i * batch, (i + 1) * batch) for i in range(steps)]
    return lambda: [model.train_on_batch(x[rows], y[rows]) for rows in parts], steps


def difference(name, who):
    """The losses of epochs that begin with the same weights and see the same batches."""
    import models

    def losses():
        steps = 2 if who.small else 5
        x, y = models.data(name, steps)
        model = who.model(name, models.initial_weights(name))
        options = {} if who.by_hand else {"verbose": 0, "batch_size": models.MODELS[name].batch}
        found = []
        for _ in range(3):
            history = model.fit(x, y, shuffle=False, **options)
            found.append(history[0] if who.by_hand else history.history["loss"][0])
        return {"values": [*map(float, found), *map(float, model.evaluate(x, y, **options))]}

    return losses, None


# ---- eager calls ---------------------------------------------------------------------------------


def call(name, who):
    """A layer, or a whole model, called on an array outside of any compiled function."""
    import models
    import numpy as np

    count, loops = 2 if who.small else 200, who.loops
    if name == "dense":
        x = np.ones((8, 16), "float32")
        if not who.by_hand:
            run = who.keras.layers.Dense(16, activation="relu")
    else:
        x = models.data(name, 1)[0]
        if not who.by_hand:
            run = models.build(who.keras, name)
    if who.by_hand:
        run = loops.eager(name)
    x = loops.array(x)
    return lambda: loops.wait([run(x) for _ in range(count)]), count


def dispatch(name, who):
    """What an op costs over the framework's own function, both in turns; by hand the latter."""
    import numpy as np

    loops, op = who.loops, name.removesuffix("_number")
    x, count, blocks = loops.array(np.ones((8, 8), "float32")), 200, 2 if who.small else 40
    more = {"add": (x,), "add_number": (1.5,), "matmul": (x,), "reshape": ((4, 16),)}
    args = (x, *more.get(name, ()))
    bare = loops.BARE[op]
    functions = [bare] if who.by_hand else [bare, getattr(who.keras.ops, op)]

    def block(function):
        cpu = time.process_time(), time.perf_counter()
        for _ in range(count):
            loops.wait(function(*args))
        return [(b - a) / count for a, b in zip(cpu, (time.process_time(), time.perf_counter()))]

    least = [[float("inf")] * 2 for _ in functions]  # of all rounds

    def measure():
        gc.collect()
        for _ in range(blocks):
            least[:] = [list(map(min, best, block(f))) for best, f in zip(least, functions)]
        cpu, wall = (times[-1] - (0 if who.by_hand else times[0]) for times in zip(*least))
        return {"cpu": cpu, "wall": wall}

    return measure, None


# ---- files ---------------------------------------------------------------------------------------


def saved(name, who, weights):
    import models

    model, suffix = getattr(models, name)(who.keras), "weights.h5" if weights else "keras"
    return model, os.path.join(tempfile.mkdtemp(), f"model.{suffix}")


def save(name, who):
    model, path = saved(name, who, False)
    return lambda: model.save(path), 1


def save_weights(name, who):
    model, path = saved(name, who, True)
    return lambda: model.save_weights(path), 1


def load(name, who):
    model, path = saved(name, who, False)
    model.save(path)
    return lambda: who.keras.models.load_model(path), 1


def load_weights(name, who):
    model, path = saved(name, who, True)
    model.save_weights(path)
    return lambda: model.load_weights(path), 1


# ---- once in a process ---------------------------------------------------------------------------


def import_(name, who):
    """The package, and what nearly every script uses of it; by hand the framework alone."""
    if who.by_hand:
        return lambda: importlib.import_module(
            {"jax": "jax.numpy"}.get(who.backend, who.backend)
        ), 1
    return lambda: (who.keras.layers.Dense, who.keras.Model, who.keras.ops.add), 1


def build(name, who):
    import models

    keras = who.keras
    import_(name, who)[0]()
    keras.ops.zeros(1)  # the framework is there, whenever a package loads it
    if name == "resnet50":
        return lambda: models.resnet50(keras, (1,) * 4 if who.small else (3, 4, 6, 3)), 1
    if name == "dense100":
        return lambda: models.dense100(keras), 1
    return lambda: models.build(keras, name), 1


def first_step(name, who):
    model, x, y, _, batch, _ = who.trained(name)
    return lambda: model.train_on_batch(x[:batch], y[:batch]), 1


def script(name, who):
    """What a short script takes in all: the import, building, the first step."""
    return lambda: first_step(name, who)[0](), 1


def engines(name, who):
    """How many frameworks other than the backend's a script imports, or tries to."""

    class Watch:
        seen = set()

        def find_spec(self, module, path=None, target=None):
            if module in ENGINES and module != who.backend:
                self.seen.add(module)

    def measure():
        sys.meta_path.insert(0, Watch())
        first_step(name, who)[0]()
        return dict.fromkeys(("cpu", "wall"), len(Watch.seen))

    return measure, None


# ---- memory --------------------------------------------------------------------------------------


def status(key, process="self"):
    """A line of the kernel's account of a process, in KiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def resident():
    """What this process and those it started hold in memory, in KiB."""
    lists = [p.read_text().split() for p in Path("/proc/self/task").glob("*/children")]
    return status("VmRSS") + sum(status("VmRSS", pid) for pids in lists for pid in pids)


def grown(once, times):
    """What resident memory gains by many calls, after a warm-up that fills the allocators' pools."""
    for _ in range(max(times // 10, min(times, 200))):
        once()
    gc.collect()
    before = resident()
    for _ in range(times):
        once()
    gc.collect()
    return dict.fromkeys(("cpu", "wall"), resident() - before)


def memory(name, who):
    if name == "predict":
        return predicted_memory(who)
    model, x, y, _, batch, options = who.trained("mlp")
    if name == "models":  # built, trained for a step, and dropped

        def once():
            who.model("mlp").train_on_batch(x[:batch], y[:batch])
            gc.collect()

        return lambda: grown(once, 5 if who.small else 200), None
    if name == "fits":
        rows, times = 4 * batch, 200
        if not who.by_hand:
            options = {**options, "batch_size": batch}
        once = lambda: model.fit(x[:rows], y[:rows], **options)
    else:
        once, times = lambda: model.train_on_batch(x[:batch], y[:batch]), 20_000
    return lambda: grown(once, 5 if who.small else times), None


def predicted_memory(who):
    """The peak that `predict` over a generator adds, less its result."""
    import numpy as np

    keras, steps = who.keras, 4 if who.small else 400
    inputs = keras.Input((256,))
    model = keras.Model(inputs, keras.layers.Dense(256)(inputs))

    def batches():
        for _ in range(steps):
            yield (np.random.default_rng(0).random((256, 256), "float32"),)

    def measure():
        model.predict(batches(), steps=2, verbose=0)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = status("VmRSS")
        result = model.predict(batches(), steps=steps, verbose=0)
        added = status("VmHWM") - before - result.nbytes // 1024
        return dict.fromkeys(("cpu", "wall"), added)

    return measure, None


# ---- the conversation ----------------------------------------------------------------------------


def timed(function, divisor):
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"cpu": cpu / divisor, "wall": wall / divisor}


def work(name, backend, small):
    """Answer each line on standard input: a case to prepare, `warm`, or `go`."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    who, function, divisor = Contender(name, backend, small), None, 1
    for line in map(str.strip, sys.stdin):
        answer = {}
        try:
            if line == "warm":
                function()
            elif line == "go":
                answer = function() if divisor is None else timed(function, divisor)
            else:
                function = None
                gc.collect()
                kind, case = line.split(":")
                function, divisor = globals()[{"import": "import_"}.get(kind, kind)](case, who)
        except Exception as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            answer = {"missing": message[:120]}
        answers.write(json.dumps(answer) + "\n")
