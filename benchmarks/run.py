"""Race Oneiros against Keras and against code by hand, in turns, on one pinned core.

Each contender lives in a worker process of its own and waits on a pipe; one is woken at a time,
round by round, so that all meet the same machine. What happens once in a process (imports, first
builds) is timed in fresh processes. What is timed, and the bars, stand in `bars.py`; how, in
`cases.py`; the code by hand in `loops_NAME.py`.

    python benchmarks/run.py                        jax, numpy: benchmarks/results.*, README.md's table
    python benchmarks/run.py --backend torch        another backend, added to the same results
    python benchmarks/run.py --only fit:mlp call    some, printed; with --write the rows are renewed
    python benchmarks/run.py --smoke                some of each kind, tiny: does it run?
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import cases as worker_side
import report
from bars import ONCE, SMOKE, cases_of, contenders_of, unit_of

CONTENDERS = ("keras", "by hand", "oneiros", "numpy")
SCALES = {"ms": 1e3, "KiB more": 1, "imported": 1, "of losses": 1}


class Worker:
    """A contender in its own process, asleep until a line asks for something."""

    def __init__(self, contender, race):
        backend = race.backend
        if contender == "numpy":
            contender, backend = "oneiros", "numpy"
        environment = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "",  # imports are measured as users have them
            "KERAS_BACKEND": backend,
            "ONEIROS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            "CUDA_VISIBLE_DEVICES": "",
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        }
        command = [sys.executable, __file__, "--worker", contender, "--backend", backend]
        self.process = subprocess.Popen(
            [*command, *["--smoke"] * race.small],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, {race.core}),
        )  # fmt: skip

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
    """The contenders on one backend; `heard` is told each case's results."""

    def __init__(self, backend, contenders, core, rounds, small, heard):
        self.backend, self.contenders, self.core = backend, contenders, core
        self.rounds, self.small, self.heard = rounds, small, heard

    def run(self, living, fresh, once):
        """Case to contender to times, or why there are none."""
        results = {}
        if self.small:
            living = [[c for line in (*living, fresh, once) for c in line]]
            fresh = once = []
        for line in living:
            workers = {c: Worker(c, self) for c in self.contenders}
            for case in line:
                results[case] = self.in_turns(case, workers)
            for worker in workers.values():
                worker.close()
        for case in (*fresh, *once):
            results[case] = self.anew(case)
        return results

    def in_turns(self, case, workers):
        """Rounds, more of them for short cases, whose times are the more easily disturbed."""
        answers = {c: [w.ask(case)] for c, w in workers.items()}

        def round_of(word):
            for contender, worker in workers.items():
                if "missing" not in answers[contender][-1]:
                    answers[contender].append(worker.ask(word))

        for word in () if self.small or case in ONCE else ("warm", "warm"):
            round_of(word)
        began, rounds = time.perf_counter(), 0
        while rounds < self.rounds or rounds < 5 * self.rounds and time.perf_counter() - began < 8:
            round_of("go")
            rounds += 1
            if self.small or case in ONCE:
                break
        return self.told(case, {c: a[-rounds:] for c, a in answers.items()})

    def anew(self, case):
        answers = {c: [] for c in self.contenders}
        for _ in range(1 if case in ONCE else max(1, self.rounds - 2)):
            for contender, found in answers.items():
                if found and "missing" in found[-1]:
                    continue
                worker = Worker(contender, self)
                answer = worker.ask(case)
                found.append(answer if "missing" in answer else worker.ask("go"))
                worker.close()
        return self.told(case, answers)

    def told(self, case, answers):
        expected = answers.get("oneiros", [{}])[-1].get("values")
        results = {c: summary(case, a, expected) for c, a in answers.items()}
        everyone = contenders_of(self.backend)
        results = {c: results.get(c, {"missing": "not asked for"}) for c in everyone}
        self.heard(self.backend, case, results)
        return results


def summary(case, answers, expected=None):
    """The least and the median of all rounds, or why there are none."""
    if "missing" in answers[-1]:
        return answers[-1]
    if "values" in answers[-1]:
        if expected is None:
            return {"missing": "nothing to compare"}
        far = max(abs(a - b) / abs(b) for a, b in zip(answers[-1]["values"], expected))
        answers = [{"cpu": far, "wall": far}]
    if unit_of(case) == "us more":  # the last is the difference of the least of all rounds
        answers = answers[-1:]
    scale = SCALES.get(unit_of(case), 1e6)
    return {
        f"{measure}_{clock}": scale * function(a[clock] for a in answers)
        for measure, function in (("least", min), ("median", statistics.median))
        for clock in ("cpu", "wall")
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", nargs="+", default=["jax", "numpy"])
    parser.add_argument("--only", nargs="+", default=[""], help="what cases' names begin with")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--write", action="store_true", help="add what ran to benchmarks/results.*")
    parser.add_argument("--smoke", action="store_true", help="everything tiny, nothing written")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker_side.work(options.worker, options.backend[0], options.smoke)
    rounds, only = 1 if options.smoke else options.rounds, tuple(options.only)
    # Keras goes through the same lines as Oneiros, and takes a minute for them.

    def wanted(case):
        return case.startswith(only) and (not options.smoke or case.split(":")[1] in SMOKE)

    missed = []
    for backend in options.backend:
        load, everyone = os.getloadavg()[0], contenders_of(backend)
        contenders = options.contenders or everyone[options.smoke and everyone[0] == "keras" :]
        race = Race(backend, contenders, options.core, rounds, options.smoke, report.line)
        living, fresh, once = cases_of(backend)
        living = [kept for line in living if (kept := list(filter(wanted, line)))]
        results = race.run(living, list(filter(wanted, fresh)), list(filter(wanted, once)))
        print(*report.notes(results), sep="\n")
        missed += [] if options.smoke else report.bars(backend, results)
        everything = only == ("",) and set(contenders) == set(everyone)
        if options.write or everything and not options.smoke:
            report.write(backend, results, rounds, load, anew=everything)
    print(f"{len(missed)} bars missed")


if __name__ == "__main__":
    main()
