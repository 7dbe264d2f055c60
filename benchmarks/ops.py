"""Race ops against Keras's on the same backend: eager and compiled, values and derivatives.

A worker process for each library is woken in turns, round by round, on one core. Compiled means as in
training: `jax.jit` and `tf.function` for Keras (on PyTorch Keras trains eagerly), and the traced graph
for Oneiros. Derivatives are of the sum of squares of the result, by the framework's own means where
eager. The table goes to `ops.md`, its picture to `ops.png`.

    python benchmarks/ops.py --backend jax torch tensorflow numpy
    python benchmarks/ops.py --backend torch --only conv "top_k small"
    python benchmarks/ops.py --smoke
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from ops_cases import EAGER, ROWS, SIZES

HERE = Path(__file__).resolve().parent
LIBRARIES = ("keras", "oneiros")
MODES = ("eager", "eager gradient", "compiled", "compiled gradient")
BAR, MEDIAN_BAR = 1.1, 0.8
SMOKE = ("add", "sort")


def modes_of(backend, mark):
    """What of a case can be run on a backend."""
    for mode in MODES:
        derived, compiled = "gradient" in mode, "compiled" in mode
        if not (backend == "numpy" and (derived or compiled) or derived and mark or compiled and mark == EAGER):  # fmt: skip
            yield mode


# In the worker ------------------------------------------------------------------------------------
def work(library, backend):
    """Answer lines: "name|size|mode" makes a call ready, "go" times it."""
    os.environ["KERAS_BACKEND"] = os.environ["ONEIROS_BACKEND"] = backend
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    answers, sys.stdout = sys.stdout, sys.stderr
    package = __import__(library)
    call, times, made = None, 1, {}
    for line in sys.stdin:
        try:
            if line.strip() == "go":
                answer = timed(call, times)
            else:
                name, size, mode = line.strip().split("|")
                if (name, size) not in made:
                    made.clear()
                    made[name, size] = ROWS[name][1](size)
                call = ready(package.ops, library, backend, ROWS[name][0], made[name, size], mode)
                call()
                took = max(timed(call, 1), 1e-7)
                times = max(1, min(2000, int(0.01 / took)))
                answer = timed(call, times)
        except Exception as error:
            answer, call = f"{type(error).__name__}: {error}"[:200], None
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def timed(call, times):
    """The CPU time of a call."""
    began = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - began) / times


def ready(k, library, backend, op, arrays, mode):
    """The call that is timed."""
    given = [k.convert_to_tensor(x) for x in arrays]
    places = tuple(i for i, x in enumerate(arrays) if x.dtype.kind == "f")
    derived = "gradient" in mode

    def value(*xs):
        return op(k, *xs)

    def loss(*xs):
        return k.sum(k.square(op(k, *xs)))

    if "compiled" in mode and library == "oneiros":
        step = traced(value, loss, given, places if derived else ())
    elif backend == "jax":
        import jax

        step = jax.grad(loss, places) if derived else value
        step = jax.jit(step) if "compiled" in mode else step
    elif backend == "tensorflow":
        import tensorflow as tf

        def derivatives(*xs):
            with tf.GradientTape() as tape:
                tape.watch([xs[i] for i in places])
                y = loss(*xs)
            return tape.gradient(y, [xs[i] for i in places])

        step = derivatives if derived else value
        step = tf.function(step) if "compiled" in mode else step
    elif backend == "torch" and derived:
        import torch

        for i in places:
            given[i] = given[i].detach().requires_grad_(True)

        def step(*xs):
            return torch.autograd.grad(loss(*xs), [xs[i] for i in places])
    else:
        step = value
    if backend == "jax":
        import jax

        return lambda: jax.block_until_ready(step(*given))
    if backend == "torch" and not derived:
        import torch

        def quietly():
            with torch.no_grad():
                return step(*given)

        return quietly
    return lambda: step(*given)


def traced(value, loss, given, places):
    """The function that Oneiros's trainer would run: traced, differentiated, compiled."""
    import numpy as np

    from oneiros.core import backend, tree
    from oneiros.core.autodiff import gradient
    from oneiros.core.graph import trace
    from oneiros.core.spec import spec_of

    engine = backend.current()

    def step(*symbols):
        if not places:
            return tree.flatten(value(*symbols))
        return gradient([loss(*symbols)], [np.float32(1.0)], [symbols[i] for i in places])

    graph = trace(step, [spec_of(x) for x in given], engine.kept("train" if places else "run"))
    compiled = engine.compile(graph)
    return lambda *xs: compiled(*xs)


# In the main process ------------------------------------------------------------------------------
class Worker:
    def __init__(self, library, backend, core):
        command = [sys.executable, __file__, "--worker", library, "--backend", backend]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env={**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", **threads},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        return json.loads(answer) if answer else "the process died"


def race(backend, wanted, rounds, core, libraries):
    """Case to library to (least, median) microseconds, or why there are none."""
    workers = {library: Worker(library, backend, core) for library in libraries}
    results = {}
    for name, (_, _, *mark) in ROWS.items():
        for size in SIZES:
            for mode in modes_of(backend, mark[0] if mark else None):
                case = f"{name} {size} {mode}"
                if not wanted(case):
                    continue
                heard = {n: [w.ask(f"{name}|{size}|{mode}")] for n, w in workers.items()}
                for _ in range(rounds):
                    for library, found in heard.items():
                        if not isinstance(found[-1], str):
                            found.append(workers[library].ask("go"))
                results[case] = {n: summary(found) for n, found in heard.items()}
                line(backend, case, results[case])
    for worker in workers.values():
        worker.process.stdin.close()
        worker.process.wait()
    return results


def summary(found):
    if isinstance(found[-1], str):
        return found[-1]
    times = [1e6 * t for t in (found[1:] or found)]
    return [min(times), statistics.median(times)]


def ratio(result, which=0):
    """Our time as a share of Keras's."""
    ours, theirs = result.get("oneiros"), result.get("keras")
    return (
        ours[which] / theirs[which] if isinstance(ours, list) and isinstance(theirs, list) else None
    )


def line(backend, case, result):
    cells = [
        f"{n} {r if isinstance(r, str) else f'{r[0]:,.1f} ({r[1]:,.1f}) us'}"
        for n, r in result.items()
    ]
    share = ratio(result)
    flag = "" if share is None else f"  {share:.2f}" + " SLOW" * (share > BAR)
    print(f"{backend} {case}: {'  '.join(cells)}{flag}", flush=True)


def told(results):
    """The table, in Markdown."""
    lines = [
        "# Ops beside Keras's",
        "",
        "Written by `benchmarks/ops.py`: Oneiros's CPU time as a share of Keras 3.15.1's on the same",
        "backend and core, the least of the rounds (and the median of them); below 1 is faster. Then",
        "Oneiros's least time in microseconds. Compiled on PyTorch: Keras trains eagerly there.",
        f"Bars: nowhere above {BAR}, the median of the eager ones at most {MEDIAN_BAR}.",
        "",
    ]
    for backend, cases in results.items():
        shares = {case: s for case, r in cases.items() if (s := ratio(r)) is not None}
        eager = [s for case, s in shares.items() if " eager" in case]
        above = [case for case, s in shares.items() if s > BAR]
        lines += [f"## {backend}", ""]
        if shares:
            lines += [
                f"Median eager {statistics.median(eager):.2f}, of all {statistics.median(shares.values()):.2f}; "
                f"above {BAR}: {len(above)} of {len(shares)}"
                + (f" ({', '.join(sorted(above))})." if above else "."),
                "",
            ]
        lines += ["| op | size | " + " | ".join(MODES) + " |", "|---|---|" + "---|" * len(MODES)]
        for name in ROWS:
            for size in SIZES:
                found = [cases.get(f"{name} {size} {mode}") for mode in MODES]
                if any(found):
                    lines.append(f"| {name} | {size} | " + " | ".join(map(cell, found)) + " |")
        lines.append("")
    return "\n".join(lines)


def cell(result):
    if result is None:
        return ""
    least, median = ratio(result), ratio(result, 1)
    ours = result.get("oneiros")
    if isinstance(ours, str):
        return "—"
    if least is None:
        return f"only ours, {ours[0]:,.0f}"
    return f"{'**' * (least > BAR)}{least:.2f}{'**' * (least > BAR)} ({median:.2f}), {ours[0]:,.0f}"


def drawn(results, path):
    """A column of points for each backend and mode: one for each op and size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(results), figsize=(4.2 * len(results), 4.4), sharey=True)
    for panel, (backend, cases) in zip([panels] if len(results) == 1 else panels, results.items()):
        columns = [m for m in MODES if any(c.endswith(f" {m}") for c in cases)]
        for place, mode in enumerate(columns):
            for size, colour, shift in zip(SIZES, ("tab:blue", "tab:orange"), (-0.17, 0.17)):
                found = [
                    (case.split()[0], share)
                    for case, r in cases.items()
                    if case.endswith(f" {size} {mode}") and (share := ratio(r)) is not None
                ]
                shares = [share for _, share in found]
                if not shares:
                    continue
                panel.scatter([place + shift] * len(shares), shares, s=14, c=colour, alpha=0.5,
                              linewidths=0, label=size if not place else None)  # fmt: skip
                middle = statistics.median(shares)
                panel.plot([place + shift - 0.14, place + shift + 0.14], [middle] * 2, c="black")
        panel.axhline(1, color="grey", linewidth=1)
        panel.axhline(BAR, color="red", linewidth=0.8, linestyle="--")
        panel.set_yscale("log")
        ticks = [0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
        panel.set_yticks(ticks, [f"{t:g}" for t in ticks])
        panel.minorticks_off()
        panel.set_xticks(range(len(columns)), [m.replace(" ", "\n") for m in columns])
        panel.set_title(backend)
    first = panels if len(results) == 1 else panels[0]
    first.set_ylabel("time as a share of Keras's")
    first.legend(loc="lower left", frameon=False)
    figure.suptitle("Ops: Oneiros's CPU time beside Keras's (black: median; dashed: the bar)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", nargs="+", default=["jax", "torch", "tensorflow", "numpy"])
    parser.add_argument("--only", nargs="+", default=[""], help="what cases' names begin with")
    parser.add_argument("--mode", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--write", action="store_true", help="add what ran to benchmarks/ops.*")
    parser.add_argument("--smoke", action="store_true", help="a few on NumPy and jax: does it run?")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker, options.backend[0])

    def wanted(case):
        name, size, mode = case.split(maxsplit=2)
        if options.smoke:
            return name in SMOKE and size == "small"
        return case.startswith(tuple(options.only)) and mode in options.mode

    backends = ["numpy", "jax"] if options.smoke else options.backend
    libraries = LIBRARIES[options.smoke :]  # Keras is slow to import
    kept = HERE / "ops.json"
    results = json.loads(kept.read_text()) if kept.exists() and not options.smoke else {}
    for backend in backends:
        found = race(
            backend, wanted, 0 if options.smoke else options.rounds, options.core, libraries
        )
        failed = [f"{c}: {r['oneiros']}" for c, r in found.items() if isinstance(r["oneiros"], str)]
        if options.smoke and (failed or not found):
            sys.exit("\n".join(failed) or "nothing ran")
        results[backend] = {**results.get(backend, {}), **found}
        if options.write:
            kept.write_text(json.dumps(results, indent=0))
            (HERE / "ops.md").write_text(told(results))
            drawn(results, HERE / "ops.png")


if __name__ == "__main__":
    main()
