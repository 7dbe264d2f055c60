"""Write docs/reference/: a page for each family of names, from the docstrings.

    python docs/make_reference.py

Sections are the modules that define the names, under the first lines of those modules' docstrings.
"""

import importlib
import inspect
import os
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "reference"
FAMILIES = {
    "ops": "Functions of arrays, of symbols and of variables.",
    "random": "Random numbers.",
    "activations": "Functions that layers apply to what they compute.",
    "initializers": "The first values of weights.",
    "regularizers": "Penalties on weights.",
    "constraints": "What weights are brought back to after a step.",
    "losses": "What training makes small.",
    "metrics": "What is watched while a model trains.",
    "optimizers": "How weights are changed by their gradients.",
    "optimizers.schedules": "The learning rate as a function of the step.",
    "dtype_policies": "In which dtype layers compute and keep their weights.",
    "layers": "What models are made of.",
}
SECTION = re.compile(r"^(Args|Arguments|Returns|Raises|Yields|Attributes):$")


def pages():
    """File names and their text."""
    made = {f"{family}.md": page(family, intro) for family, intro in FAMILIES.items()}
    links = [f"- [{f}]({f}.md): {intro}" for f, intro in FAMILIES.items()]
    head = "# Reference\n\nMade from the docstrings by `docs/make_reference.py`.\n\n"
    return made | {"README.md": head + "\n".join(links) + "\n"}


def page(family, intro):
    room = importlib.import_module(f"oneiros.{family}")
    sections = {}
    for name, thing in members(room):
        sections.setdefault(home(room, thing), {}).setdefault(id(thing), (thing, []))[1].append(
            name
        )
    lines = [f"# oneiros.{family}", "", intro, ""]
    for module, things in sections.items():
        if len(sections) > 1 and module != room.__name__:
            first = (inspect.getdoc(sys.modules[module]) or module).splitlines()[0]
            lines += [f"## {first.rstrip('.')}", ""]
        for thing, names in things.values():
            lines += entry(family, thing, names)
    return "\n".join(lines)


def members(room):
    """The room's public functions and classes, in alphabetical order."""
    public = [n for n in getattr(room, "__all__", dir(room)) if not n.startswith("_")]
    if room.__name__ == "oneiros.layers":  # most are exported where they are defined
        public = [n for n in dir(room) if n[0].isupper() and not n.isupper()] + [
            "deserialize",
            "serialize",
        ]
    for name in sorted(set(public), key=lambda n: (n.lower(), n)):
        thing = getattr(room, name)
        if callable(thing) and not inspect.ismodule(thing):
            if getattr(thing, "__module__", "").startswith("oneiros"):
                yield name, thing


def home(room, thing):
    """The module of the room that defines it, else the room."""
    module = inspect.unwrap(thing).__module__
    return module if module.startswith(room.__name__) and module in sys.modules else room.__name__


def entry(family, thing, names):
    """A heading with the signature, what the docstring says, and other names."""
    name, *others = sorted(names, key=lambda n: (n != thing.__name__, n))
    text = (thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__) or ""
    lines = [f"### {name}", "", "```python", call(family, name, thing), "```", ""]
    lines += [*body(inspect.cleandoc(text)), ""]
    if others:
        lines += [f"Also {', '.join(f'`{other}`' for other in others)}.", ""]
    return lines


def call(family, name, thing, width=100):
    """The call with its arguments, in lines of at most `width`."""
    whole = f"{family}.{name}{signature(thing)}"
    if len(whole) <= width:
        return whole
    head, _, rest = whole.partition("(")
    lines, arguments = [f"{head}("], re.split(r", (?=[*\w]+(?:=|,|\)|$))", rest.rpartition(")")[0])
    for argument in arguments:
        if len(lines) > 1 and len(lines[-1]) + len(argument) + 2 <= width:
            lines[-1] += f" {argument},"
        else:
            lines.append(f"    {argument},")
    return "\n".join([*lines, ")"])


def signature(thing):
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    bare = [p.replace(annotation=p.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def body(text):
    """The docstring as Markdown: lists for arguments and errors, blocks for examples."""
    lines, inside, example = [], False, False
    for line in text.splitlines():
        if example and not line.strip():
            lines.append("```")
            example = False
        if line.lstrip().startswith(">>>") and not example:
            lines += ["", "```python"] if lines and lines[-1] else ["```python"]
            example, inside = True, False
        if example:
            lines.append(line.strip() if line.lstrip().startswith((">>>", "...")) else line)
        elif SECTION.match(line):
            lines += [f"**{line[:-1]}**", ""]
            inside = True
        elif inside and re.match(r"    \S", line):
            key, colon, rest = line.strip().partition(": ")
            named = colon and re.fullmatch(r"[\w*, ]+", key)
            lines.append(f"- `{key}`: {rest}" if named else f"- {line.strip()}")
        elif inside and line.startswith("     "):
            lines.append(f"  {line.strip()}")
        else:
            inside = inside and not line.strip()
            lines.append(line)
    return [*lines, "```"] if example else lines


def main():
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    os.environ.setdefault("ONEIROS_BACKEND", "numpy")
    sys.path.insert(0, str(FOLDER.parent.parent))
    main()
