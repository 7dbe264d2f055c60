"""The Python in the documentation runs: the blocks of a page, in order, in one namespace."""

import doctest
import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")


def blocks(page):
    """Pairs of (number of the line before, source) for the page's Python blocks."""
    text = page.read_text()
    return [(text.count("\n", 0, m.start(1)), m.group(1)) for m in BLOCK.finditer(text)]


@pytest.fixture
def restored():
    """Afterwards the tables that pages add to, and the session's backend, are as before."""
    from oneiros import config
    from oneiros.core import backend, op, primitive

    tables = [op.OPS, primitive.PRIMITIVES, backend.LOADED]
    before, name = [dict(table) for table in tables], config.backend()
    yield
    for table, content in zip(tables, before):
        table.clear()
        table.update(content)
    config.set_backend(name)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.stem)
def test_a_page_runs(page, restored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": f"docs_{page.stem.replace('-', '_')}"}
    for line, source in blocks(page):
        if source.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(source, names, page.name, str(page), line)
            failures = []
            doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
                test, out=failures.append, clear_globs=False
            )
            names = test.globs
            assert not failures, "".join(failures)
        else:
            exec(compile("\n" * line + source, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_within_the_project_lead_somewhere(page):
    prose = BLOCK.sub("", page.read_text())
    wrong = [to for to in LINK.findall(prose) if not (page.parent / to).exists()]
    assert not wrong


# The reference ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("maker", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_docstrings_say(maker):
    old = [n for n, text in maker.pages().items() if (maker.FOLDER / n).read_text() != text]
    assert not old, "run python docs/make_reference.py"


@pytest.mark.parametrize(
    "family",
    "activations initializers regularizers constraints losses metrics dtype_policies".split(),
)
def test_examples_in_docstrings_that_are_made_run(family):
    """Those of look-ups, which doctest does not find in the modules."""
    room = importlib.import_module(f"oneiros.{family}")
    for name in ("get", "serialize", "deserialize"):
        text = getattr(room, name).__doc__
        test = doctest.DocTestParser().get_doctest(text, dict(vars(room)), name, None, None)
        assert test.examples
        assert not doctest.DocTestRunner().run(test, out=print).failed


def test_every_name_of_the_small_families_has_an_example(maker):
    for family in set(maker.FAMILIES) - {"layers", "random", "ops"}:
        room = importlib.import_module(f"oneiros.{family}")
        for name, thing in maker.members(room):
            assert ">>>" in (thing.__doc__ or ""), f"{family}.{name}"
