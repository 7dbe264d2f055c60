"""Race Oneiros against Keras and against hand-written code, in turns, on one pinned core.

Each contender lives in a worker process of its own and waits on a pipe; the parent wakes one at a
time, round by round, so that all meet the same machine. Times are CPU times of a worker (wall times
are in the JSON): the least and the median of the rounds. What happens once in a process (imports,
first builds) is timed in fresh processes.

    python benchmarks/run.py                          all: benchmarks/results.*, README.md's table
    python benchmarks/run.py --only fit:mlp call      some, printed
    python benchmarks/run.py --smoke                  one of each kind, tiny: does it run?
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CONTENDERS = ("keras", "hand-written", "oneiros")
MODELS = ("mlp", "cnn", "cnn_wide", "lstm", "transformer")
OPS = ("add", "matmul", "relu", "reshape")

# What is timed round by round in a living process, and what in a fresh process each time.
LIVING = [
    *(f"{kind}:{name}" for kind in ("fit", "evaluate", "predict") for name in MODELS),
    *(f"predict_one:{name}" for name in ("mlp", "transformer")),
    *(f"train_on_batch:{name}" for name in ("mlp", "lstm")),
    "call:dense",
    "call:mlp",
    *(f"op:{name}" for name in OPS),
    "save:dense100",
    "load:dense100",
    "numpy_fit:mlp",
]
FRESH = [
    "import:package",
    *(f"build:{name}" for name in ("mlp", "resnet50", "dense100")),
    *(f"first_step:{name}" for name in ("mlp", "cnn", "transformer")),
    "script:mlp",
]
MEMORY = ["memory:steps", "memory:fits"]
SMOKE = {"mlp", "dense", "add", "package", "dense100", "steps", "fits"}
UNITS = {
    "fit": "us a step",
    "evaluate": "us a step",
    "predict": "us a step",
    "numpy_fit": "us a step",
    "memory": "KiB",
    "import": "ms",
    "build": "ms",
    "first_step": "ms",
    "script": "ms",
    "save": "ms",
    "load": "ms",
}


# ---- in a worker ---------------------------------------------------------------------------------


def module(contender):
    """The Keras API of a contender."""
    if contender == "oneiros":
        import oneiros as keras
    else:
        import keras
    return keras


def prepared(case, contender, small):
    """A function to time, and by how many its time is to be divided."""
    kind, name = case.split(":")
    prepare = globals()[f"prepare_{kind}"]
    return prepare(name, contender, small)


def trained(name, contender, small):
    import models

    steps = 2 if small else models.MODELS[name].steps
    model = (
        models.HandWritten(name)
        if contender == "hand-written"
        else models.compiled(module(contender), name)
    )
    return model, *models.data(name, steps), steps, models.MODELS[name].batch


def quiet(contender, **options):
    """The options of Keras's loops; hand-written ones have none."""
    return {} if contender == "hand-written" else {"verbose": 0, **options}


def prepare_fit(name, contender, small):
    model, x, y, steps, batch = trained(name, contender, small)
    options = quiet(contender, batch_size=batch)
    return lambda: model.fit(x, y, epochs=1, **options), steps


def prepare_numpy_fit(name, contender, small):
    import models

    if contender == "keras":
        raise RuntimeError("Keras does not train on NumPy")
    if contender == "oneiros":
        return prepare_fit(name, contender, small)
    steps = 2 if small else models.MODELS[name].steps
    model = models.HandWrittenNumPy()
    x, y = models.data(name, steps)
    return lambda: model.fit(x, y), steps


def prepare_evaluate(name, contender, small):
    model, x, y, steps, batch = trained(name, contender, small)
    options = quiet(contender, batch_size=batch)
    return lambda: model.evaluate(x, y, **options), steps


def prepare_predict(name, contender, small):
    model, x, _, steps, batch = trained(name, contender, small)
    options = quiet(contender, batch_size=batch)
    return lambda: model.predict(x, **options), steps


def prepare_predict_one(name, contender, small):
    model, x, _, _, _ = trained(name, contender, small)
    options, count = quiet(contender), 1 if small else 20
    return lambda: [model.predict(x[:1], **options) for _ in range(count)], count


def prepare_train_on_batch(name, contender, small):
    model, x, y, steps, batch = trained(name, contender, small)

    def run():
        for i in range(steps):
            rows = slice(i * batch, (i + 1) * batch)
            model.train_on_batch(x[rows], y[rows])

    return run, steps


def prepare_call(name, contender, small):
    """A layer, or a whole model, called on an array outside of any compiled function."""
    import jax
    import jax.numpy as jnp
    import models

    count = 2 if small else 200
    if name == "dense":
        x = jnp.ones((8, 16))
        weight, bias = jnp.ones((16, 16)), jnp.ones((16,))
        if contender == "hand-written":
            call = lambda x: jnp.maximum(x @ weight + bias, 0)
        else:
            call = module(contender).layers.Dense(16, activation="relu")
    else:
        x = jnp.asarray(models.data(name, 1)[0])
        if contender == "hand-written":
            weights, function = models.initial_weights(name), models.forward(name)
            weights = [jnp.asarray(w) for w in weights]
            call = lambda x: function(weights, x)
        else:
            call = models.build(module(contender), name)
    return lambda: jax.block_until_ready([call(x) for _ in range(count)]), count


def prepare_op(name, contender, small):
    import jax
    import jax.numpy as jnp

    x, count = jnp.ones((8, 8)), 2 if small else 500
    arguments = {"reshape": (x, (4, 16)), "relu": (x,)}.get(name, (x, x))
    if contender == "hand-written":
        op = jax.nn.relu if name == "relu" else getattr(jnp, name)
    else:
        op = getattr(module(contender).ops, name)
    return lambda: jax.block_until_ready([op(*arguments) for _ in range(count)]), count


def prepare_save(name, contender, small):
    import models

    model = models.dense100(keras_only(contender))
    path = os.path.join(tempfile.mkdtemp(), "model.keras")
    return lambda: model.save(path), 1


def prepare_load(name, contender, small):
    import models

    keras = keras_only(contender)
    path = os.path.join(tempfile.mkdtemp(), "model.keras")
    models.dense100(keras).save(path)
    return lambda: keras.models.load_model(path), 1


def prepare_import(name, contender, small):
    if contender == "hand-written":
        return lambda: __import__("jax.numpy"), 1
    return lambda: module(contender), 1


def prepare_build(name, contender, small):
    import models

    keras = keras_only(contender)
    if name == "resnet50":
        depths = (1, 1, 1, 1) if small else (3, 4, 6, 3)
        return lambda: models.resnet50(keras, depths), 1
    build = models.dense100 if name == "dense100" else lambda k: models.build(k, name)
    return lambda: build(keras), 1


def prepare_first_step(name, contender, small):
    model, x, y, _, batch = trained(name, contender, small)
    return lambda: model.train_on_batch(x[:batch], y[:batch]), 1


def prepare_script(name, contender, small):
    """What a short script takes in all: the import, building, the first step."""

    def script():
        model, x, y, _, batch = trained(name, contender, small)
        model.train_on_batch(x[:batch], y[:batch])

    return script, 1


def prepare_memory(name, contender, small):
    """Growth is measured after a warm-up, by a call of its own: see `grown`."""
    model, x, y, _, batch = trained("mlp", contender, small)
    options = quiet(contender, batch_size=batch)
    if name == "fits":
        rows = 4 * batch
        once, times = lambda: model.fit(x[:rows], y[:rows], epochs=1, **options), 200
    else:
        once, times = lambda: model.train_on_batch(x[:batch], y[:batch]), 20_000
    return once, 5 if small else times


def keras_only(contender):
    if contender == "hand-written":
        raise RuntimeError("nothing to compare by hand")
    return module(contender)


def timed(function, divisor):
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"cpu": cpu / divisor, "wall": wall / divisor}


def resident():
    """The memory of this process in KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def grown(once, times):
    for _ in range(max(2, times // 10)):
        once()
    gc.collect()
    before = resident()
    for _ in range(times):
        once()
    gc.collect()
    growth = resident() - before
    return {"cpu": growth, "wall": growth}


def work(contender, small):
    """Answer a line on standard output for each line that comes in: a case to prepare, or `go`."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    sys.path[:0] = [str(HERE), str(ROOT)]
    case, function, divisor = None, None, 1
    for line in map(str.strip, sys.stdin):
        answer = {}
        try:
            if line != "go":
                case = line
                function, divisor = prepared(case, contender, small)
                for _ in range(2 if case in LIVING else 0):
                    function()
            elif case in MEMORY:
                answer = grown(function, divisor)
            else:
                answer = timed(function, divisor)
        except Exception as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            answer = {"missing": message[:120]}
        answers.write(json.dumps(answer) + "\n")


# ---- in the parent -------------------------------------------------------------------------------


class Worker:
    """A contender in its own process, asleep until a line asks for something."""

    def __init__(self, contender, backend, core, small):
        environment = {
            **os.environ,
            "KERAS_BACKEND": "jax",
            "ONEIROS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", contender, *["--smoke"] * small],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            return {"missing": "the process died"}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Race:
    """Where workers come from: a fresh one for each case, or in a smoke test the same for all."""

    def __init__(self, contenders, core, rounds, small):
        self.contenders, self.core, self.rounds, self.small = contenders, core, rounds, small
        self.kept = {}

    def worker(self, contender, case):
        backend = "numpy" if case.startswith("numpy") else "jax"
        if not self.small:
            return Worker(contender, backend, self.core, self.small)
        key = contender, backend
        if key not in self.kept:
            self.kept[key] = Worker(*key, self.core, self.small)
        return self.kept[key]

    def answers(self, case, workers):
        """What each contender answers in one round."""
        found = {}
        for contender, worker in workers.items():
            fresh = worker is None
            worker = worker or self.worker(contender, case)
            answer = worker.ask(case) if fresh else {}
            found[contender] = answer if "missing" in answer else worker.ask("go")
            if fresh and not self.small:
                worker.close()
        return found

    def run(self, case):
        """For each contender the least and the median of all rounds, or why there are none."""
        results, workers = {}, dict.fromkeys(self.contenders)
        if case in LIVING:
            for contender in self.contenders:
                workers[contender] = worker = self.worker(contender, case)
                answer = worker.ask(case)
                if "missing" in answer:
                    results[contender] = answer
        living = [worker for worker in workers.values() if worker]
        rounds = {contender: [] for contender in self.contenders}
        for _ in range(1 if case in MEMORY else self.rounds):
            left = {c: w for c, w in workers.items() if c not in results}
            for contender, answer in self.answers(case, left).items():
                if "missing" in answer:
                    results[contender] = answer
                else:
                    rounds[contender].append(answer)
        if not self.small:
            for worker in living:
                worker.close()
        return {c: results.get(c) or summary(case, rounds[c]) for c in self.contenders}


def summary(case, answers):
    unit = unit_of(case)
    scale = {"ms": 1e3, "KiB": 1}.get(unit, 1e6)
    return {
        f"{measure}_{clock}": scale * function(a[clock] for a in answers)
        for measure, function in (("least", min), ("median", statistics.median))
        for clock in ("cpu", "wall")
    }


def unit_of(case):
    return UNITS.get(case.split(":")[0], "us")


# ---- the report ----------------------------------------------------------------------------------


def number(x):
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:,.1f}"


def cell(result):
    if "missing" in result:
        return "—"
    return f"{number(result['least_cpu'])} ({number(result['median_cpu'])})"


def ratio(results, contender, other):
    found = [results.get(c, {}).get("least_cpu") for c in (contender, other)]
    return found[0] / found[1] if all(found) else None


def table(all_results):
    """A Markdown table: least (median) CPU times, and Oneiros's ratios of the least."""
    lines = [
        "| | unit | Keras 3 | by hand | Oneiros | of Keras | of by hand |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for case, results in all_results.items():
        cells = [cell(results[c]) for c in CONTENDERS]
        shares = [ratio(results, "oneiros", other) for other in ("keras", "hand-written")]
        shares = ["" if s is None or case in MEMORY else f"{s:.2f}" for s in shares]
        lines.append(
            f"| {case.replace(':', ' ')} | {unit_of(case)} | {' | '.join(cells + shares)} |"
        )
    return "\n".join(lines)


def notes(all_results):
    found = {}
    for case, results in all_results.items():
        for contender, result in results.items():
            if "missing" in result and "by hand" not in result["missing"]:
                found.setdefault((contender, result["missing"]), []).append(case)
    return [f"- {c} has no {', '.join(cases)}: {why}" for (c, why), cases in found.items()]


def chart(all_results, path):
    """Bars: times relative to Keras's, shorter is better."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = [c for c in all_results if ratio(all_results[c], "keras", "keras") and c not in MEMORY]
    if not shown:
        return
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(shown) + 1.2))
    colors = {"keras": "#b8b8b8", "hand-written": "#6f9fd8", "oneiros": "#d9534f"}
    for offset, contender in enumerate(CONTENDERS):
        shares = [ratio(all_results[c], contender, "keras") or 0 for c in shown]
        places = [i + 0.27 * (offset - 1) for i in range(len(shown))]
        axes.barh(places, shares, 0.25, label=contender, color=colors[contender])
    axes.set_yticks(range(len(shown)), [c.replace(":", " ") for c in shown])
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.5)
    axes.set_xlabel("CPU time of one core, relative to Keras's (shorter is better)")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def write(all_results, rounds):
    text = table(all_results)
    notice = (
        f"Least (median) CPU time of {rounds} interleaved rounds on one pinned core; Keras on its\n"
        "jax backend, Oneiros on its own, hand-written code in JAX (in NumPy for `numpy_fit`).\n"
        "`import package` by hand is `import jax.numpy`; `script` imports, builds, takes a step;\n"
        "`op` by hand is the bare `jnp` function; `memory` is what 20,000 steps or 200 fits add."
    )
    parts = ["# Speed", notice, text, "\n".join(notes(all_results))]
    (HERE / "results.md").write_text("\n\n".join(filter(None, parts)) + "\n")
    (HERE / "results.json").write_text(json.dumps(all_results, indent=1) + "\n")
    chart(all_results, HERE / "results.png")
    readme = ROOT / "README.md"
    start, end = "<!-- speed:start -->", "<!-- speed:end -->"
    page = readme.read_text() if readme.exists() else ""
    if start in page and end in page:
        before, after = page.split(start)[0], page.split(end)[1]
        readme.write_text(f"{before}{start}\n{text}\n{end}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], help="what cases' names begin with")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--smoke", action="store_true", help="everything tiny, nothing written")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker, options.smoke)
    rounds = 1 if options.smoke else options.rounds
    race = Race(options.contenders, options.core, rounds, options.smoke)
    cases = [c for c in (*LIVING, *FRESH, *MEMORY) if c.startswith(tuple(options.only))]
    if options.smoke:
        cases = [c for c in cases if c.split(":")[1] in SMOKE or c == "fit:cnn"]
    results = {}
    for case in cases:
        found = race.run(case)
        results[case] = {c: found.get(c, {"missing": "not asked for"}) for c in CONTENDERS}
        cells = [f"{c} {cell(results[case][c])}" for c in options.contenders]
        print(f"{case} [{unit_of(case)}]  {'  '.join(cells)}", flush=True)
    for worker in race.kept.values():
        worker.close()
    print("\n".join(notes(results)))
    if not options.smoke and options.only == [""]:
        write(results, rounds)


if __name__ == "__main__":
    main()
