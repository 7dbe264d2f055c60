"""What `run.py` tells: lines while it runs, bars, `results.json`, `.md` and `.png`, README's table."""

import importlib.metadata
import json
import os
import platform
from pathlib import Path

from bars import bars_of, clock_of, contenders_of, unit_of

HERE = Path(__file__).resolve().parent
HEADINGS = {"keras": "Keras", "oneiros": "Oneiros", "numpy": "on numpy"}
PLAIN = ("memory", "engines", "difference", "dispatch")  # kinds that no share is told of


def number(x):
    if abs(x) >= 100 or x == int(x):
        return f"{x:,.0f}"
    return f"{x:,.1f}" if abs(x) >= 10 else f"{x:.2f}" if abs(x) >= 0.005 else f"{x:.0e}"


def cell(result, clock="cpu"):
    if f"least_{clock}" not in result:
        return "—"
    least, median = result[f"least_{clock}"], result[f"median_{clock}"]
    return number(least) if least == median else f"{number(least)} ({number(median)})"


def value(results, contender, clock="cpu"):
    """What counts: the least of the rounds."""
    return results.get(contender, {}).get(f"least_{clock}")


def share(case, results, other, contender="oneiros", clock="cpu"):
    """The time of one contender as a share of another's."""
    mine, theirs = (value(results, c, clock) for c in (contender, other))
    return mine / theirs if mine and theirs and not case.startswith(PLAIN) else None


def line(backend, case, results):
    cells = [f"{c} {cell(r, clock_of(backend))}" for c, r in results.items()]
    print(f"{backend} {case} [{unit_of(case)}]  {'  '.join(cells)}", flush=True)


def verdicts(backend, case, results):
    """For each bar of a case: the bar, what was measured, and whether that is good enough."""
    for bar in bars_of(backend, case):
        if case.startswith("difference"):
            found = value(results, bar.of)
        elif bar.of:
            found = share(case, results, bar.of, clock=clock_of(backend))
        else:
            found = value(results, "oneiros")
        if found is not None:
            yield bar, found, found <= bar.limit


def told(bar):
    unit = unit_of(bar.case)
    if bar.of and not bar.case.startswith("difference"):
        return f"{number(bar.limit)} of {bar.of}"
    return f"{number(bar.limit)} {unit}"


def bars(backend, results):
    """Print every bar of the cases that ran; the missed ones are given back."""
    missed = []
    for case in results:
        for bar, found, good in verdicts(backend, case, results[case]):
            print(
                f"{'pass' if good else 'MISS'}  {backend} {case}: {number(found)}, at most {told(bar)}"
            )
            missed += [] if good else [bar]
    return missed


def notes(results):
    found = {}
    for case, by_contender in results.items():
        for contender, result in by_contender.items():
            why = result.get("missing", "by hand")
            if "by hand" not in why and why != "not asked for":
                found.setdefault((contender, why), []).append(case)
    return [f"- {c} has no {', '.join(cases)}: {why}" for (c, why), cases in found.items()]


# ---- pages ---------------------------------------------------------------------------------------


def table(backend, results, clock="cpu", only_with_bars=False):
    """A Markdown table of least (median) times, Oneiros's shares of the least, and the bars."""
    everyone = contenders_of(backend)
    others = [c for c in everyone if c != "oneiros"]
    headings = [HEADINGS.get(c, c) for c in (*everyone, *others)]
    headings[len(everyone) :] = [f"of {h.removeprefix('on ')}" for h in headings[len(everyone) :]]
    lines = [
        f"| | unit | {' | '.join(headings)} | at most |",
        f"|---|---|{'--:|' * len(headings)}---|",
    ]
    for case, found in results.items():
        marks = [
            f"{told(bar)} {'✓' if good else '✗'}" for bar, _, good in verdicts(backend, case, found)
        ]
        if only_with_bars and not marks:
            continue
        cells = [cell(found[c], clock) for c in everyone]
        shares = [share(case, found, other, clock=clock_of(backend)) for other in others]
        shares = ["" if s is None else f"{s:.2f}" for s in shares]
        kind, name = case.split(":")
        lines.append(
            f"| `{kind}` {name.replace('_', ' ')} | {unit_of(case)} | "
            f"{' | '.join(cells + shares)} | {', '.join(marks)} |"
        )
    return "\n".join(lines)


def machine(backend, load):
    """The machine and the versions in words."""
    info = Path("/proc/cpuinfo")
    names = [s for s in info.read_text().splitlines() if s.startswith("model name")]
    name = names[0].split(":")[1].strip() if names else platform.machine()
    packages = dict.fromkeys((backend, "keras", "numpy"))
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return (
        f"One core of {os.cpu_count()} of an {name}, {platform.system()}, Python "
        f"{platform.python_version()}, {', '.join(versions)}; load when the run began: {load:.1f}"
    )


LEGEND = """Least (median) CPU times of interleaved rounds on one pinned core. Keras and Oneiros run on the
backend named; by hand is a loop written for it without a library (`loops_*.py`). Of `dispatch` the
columns Keras and Oneiros are what a call costs over the framework's own function, which is the column
by hand. `import` by hand is the framework alone; `script` imports, builds and takes a step; `memory`
is what 20,000 steps or 200 fits add, and the peak of `predict` over a generator less its result;
`engines` is how many other frameworks are imported; `difference` is how far losses are from Oneiros's.
PyTensor, CNTK and Deeplearning4j are raced against the numpy backend, in wall time."""


def write(backend, results, rounds, load, anew=True):
    path = HERE / "results.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if not anew and backend in known:
        results = {**known[backend]["results"], **results}
    known[backend] = {"machine": machine(backend, load), "rounds": rounds, "results": results}
    path.write_text(json.dumps(known, indent=1) + "\n")
    pages(known)


def pages(known):
    """`results.md`, `results.png` and README's part, from what `results.json` holds."""
    parts = ["# Speed", f"`benchmarks/run.py` writes this page.\n\n{LEGEND}", "![](results.png)"]
    readme = []
    for name, run in known.items():
        about = f"{run['machine']}; at least {run['rounds']} rounds."
        clock = clock_of(name)
        parts += [f"## {name}", about, table(name, run["results"], clock), *notes(run["results"])]
        if clock == "cpu" and any("least_wall" in r["oneiros"] for r in run["results"].values()):
            parts += ["Wall times:", table(name, run["results"], "wall")]
        readme += [f"On {name}. {about}", table(name, run["results"], clock, only_with_bars=True)]
    (HERE / "results.md").write_text("\n\n".join(parts) + "\n")
    chart(known, HERE / "results.png")
    page = (HERE.parent / "README.md").read_text()
    start, end = "<!-- speed:start -->", "<!-- speed:end -->"
    if start in page and end in page:
        middle = "\n\n".join(["![](benchmarks/results.png)", *readme])
        page = f"{page.split(start)[0]}{start}\n{middle}\n{end}{page.split(end)[1]}"
        (HERE.parent / "README.md").write_text(page)


def chart(known, path):
    """How many times as fast as Keras, on a logarithmic axis: a dot by hand, a bar for Oneiros."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullFormatter

    shown = {
        name: [c for c in run["results"] if share(c, run["results"][c], "keras")]
        for name, run in known.items()
    }
    shown = {name: cases for name, cases in shown.items() if cases}
    sizes = [len(cases) + 3 for cases in shown.values()]
    figure, all_axes = plt.subplots(
        len(shown), 1, figsize=(8, 0.2 * sum(sizes)), height_ratios=sizes,
        layout="constrained", sharex=True, squeeze=False,
    )  # fmt: skip
    for axes, (name, cases) in zip(all_axes[:, 0], shown.items()):
        results = known[name]["results"]
        gains = [1 / share(c, results[c], "keras") for c in cases]
        places = range(len(cases))
        axes.barh(places, [g - 1 for g in gains], 0.66, left=1, color="#4477aa", label="Oneiros")
        hands = [share(c, results[c], "keras", "by hand") for c in cases]
        dots = {i: 1 / s for i, s in enumerate(hands) if s}
        if dots:
            axes.scatter(
                list(dots.values()), list(dots), s=22, color="#ee7733", zorder=3, label="by hand"
            )
        for i, gain in zip(places, gains):
            axes.annotate(
                number(gain) if gain < 0.995 else f"{gain:.3g}", (max(gain, 1, dots.get(i, 1)), i),
                (5, 0), textcoords="offset points", va="center", fontsize=7, color="#4477aa",
            )  # fmt: skip
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_yticks(places, [c.replace(":", " ").replace("_", " ") for c in cases], fontsize=8)
        axes.set_ylim(len(cases) - 0.4, -0.6)
        axes.set_xscale("log")
        axes.set_title(f"{name}: times as fast as Keras", fontsize=10, loc="left")
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.legend(fontsize=8, loc="lower right")
    axes.set_xticks([0.5, 1, 2, 5, 10, 20, 50, 100])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("CPU time on one core, right of the line is faster", fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)
