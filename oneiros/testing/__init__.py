"""The conformance kit: what a backend must compute, and a battery that checks it.

    python -m oneiros.testing NAME [--quick]

`cases`, `op_cases` and `models` hold the rows, `kit` the checks. A backend under development runs it
until the table is clean.
"""
