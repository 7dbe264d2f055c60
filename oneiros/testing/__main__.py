"""`python -m oneiros.testing NAME [--quick]`: a table of what conforms; exit code 1 if not all."""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.table import Table

MARKS = {"fine": "[green]✓[/]", "wrong": "[red]✗[/]", "unsupported": "[yellow]–[/]", None: ""}


def main(arguments=None):
    parser = argparse.ArgumentParser("python -m oneiros.testing", description=__doc__)
    parser.add_argument("name", help="the backend")
    parser.add_argument("--quick", action="store_true", help="two rows for each, and fewer checks")
    parser.add_argument(
        "--only", default="", help="what to check: a part of a primitive's or op's name"
    )
    options = parser.parse_args(arguments)
    from oneiros.testing import kit

    found = kit.conformance(options.name, options.quick, options.only)
    table, failures = report(options.name, found)
    console = Console()
    console.print(table)
    for line in failures:
        console.print(line, markup=False, highlight=False)
    console.print(f"{len(found)} checked, {len(failures)} with something wrong")
    return 1 if failures else 0


def report(name, found):
    """A table with a row for each primitive and op, and a line for each thing that is wrong."""
    labels = list(dict.fromkeys(label for checks in found.values() for label in checks))
    table = Table("", *labels, title=f"backend {name}")
    failures = []
    for what, checks in sorted(found.items()):
        cells = []
        for label in labels:
            wrong = {w: None for w in checks.get(label, []) if not w.startswith("unsupported")}
            state = "wrong" if wrong else "unsupported" if checks.get(label) else "fine"
            cells.append(MARKS[state if label in checks else None])
            failures += [f"{what}, {label}: {w}" for w in wrong]
        table.add_row(what, *cells)
    return table, failures


if __name__ == "__main__":
    sys.exit(main())
