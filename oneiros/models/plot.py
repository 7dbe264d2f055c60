"""A model as a picture: its layers as boxes, what flows between them as arrows.

The boxes and arrows are found once; Graphviz draws them, through pydot, or Matplotlib where Graphviz is
not there.
"""

from __future__ import annotations

import dataclasses
import html
import os
import shutil
import sys

from oneiros.core.operation import operation_of
from oneiros.core.symbol import Symbol
from oneiros.layers.input_layer import InputLayer
from oneiros.models.summary import _calls, _operations, _parents, _title, _weights

__all__ = ["model_to_dot", "plot_model"]

RANKDIRS = ("TB", "LR", "BT", "RL")
COLORS = {None: "white", True: "forestgreen", False: "firebrick"}


def plot_model(
    model,
    to_file="model.png",
    show_shapes=False,
    show_dtype=False,
    show_layer_names=False,
    rankdir="TB",
    expand_nested=False,
    dpi=200,
    show_layer_activations=False,
    show_trainable=False,
    splines="ortho",
    **kwargs,
):
    """Draw a model to a file, by Graphviz if it is installed (with pydot), else by Matplotlib.

    Args:
        model: A model that has been built.
        to_file: The picture's path; its ending says the format (png, svg, pdf ...).
        show_shapes, show_dtype, show_layer_names, show_layer_activations, show_trainable: What is
            written on a layer.
        rankdir: The direction: "TB" for top to bottom, "LR" for left to right, "BT", "RL".
        expand_nested: Whether the layers of models inside the model are drawn.
        dpi: Dots per inch.
        splines: How Graphviz draws lines: "ortho", "curved", "polyline" ...

    Returns:
        The picture as a notebook shows it, in a notebook.

    Raises:
        ValueError: if the model is not built, or an option is unknown.
        ImportError: if neither Graphviz nor Matplotlib is there.
    """
    options = dict(
        show_shapes=show_shapes,
        show_dtype=show_dtype,
        show_layer_names=show_layer_names,
        expand_nested=expand_nested,
        show_layer_activations=show_layer_activations,
        show_trainable=show_trainable,
    )
    _check(model, rankdir, kwargs)
    to_file = os.fspath(to_file)
    kind = os.path.splitext(to_file)[1][1:].lower() or "png"
    to_file = to_file if os.path.splitext(to_file)[1] else f"{to_file}.png"
    if shutil.which("dot") and _pydot():
        dot = model_to_dot(model, rankdir=rankdir, dpi=dpi, splines=splines, **options)
        try:
            dot.write(to_file, format=kind)
        except AssertionError as error:  # what pydot raises when Graphviz fails
            raise ValueError(f"Graphviz cannot draw {to_file!r}: {error}") from None
    else:
        _draw(_described(model, **options), to_file, kind, rankdir, dpi)
    if "IPython" in sys.modules and kind in ("png", "jpg", "jpeg"):
        from IPython import display, get_ipython

        if get_ipython() is not None:
            return display.Image(filename=to_file)


def model_to_dot(
    model,
    show_shapes=False,
    show_dtype=False,
    show_layer_names=True,
    rankdir="TB",
    expand_nested=False,
    dpi=200,
    subgraph=False,
    show_layer_activations=False,
    show_trainable=False,
    splines="ortho",
    **kwargs,
):
    """A model as a `pydot.Dot`, which Graphviz can draw.

    Args:
        subgraph: Whether to give a `pydot.Cluster`, to be put into another graph.
        model, show_shapes, show_dtype, show_layer_names, rankdir, expand_nested, dpi,
            show_layer_activations, show_trainable, splines: As in `plot_model`.

    Raises:
        ValueError: if the model is not built, or an option is unknown.
        ImportError: if pydot is not there.
    """
    _check(model, rankdir, kwargs)
    pydot = _pydot()
    if not pydot:
        raise ImportError("`model_to_dot` needs pydot: pip install oneiros[plot]")
    picture = _described(
        model, show_shapes, show_dtype, show_layer_names, expand_nested, show_layer_activations,
        show_trainable,
    )  # fmt: skip
    if subgraph:
        dot = pydot.Cluster(model.name, style="dashed", label=_quoted(model.name), labeljust="l")
    else:
        dot = pydot.Dot()
        for name, value in (("rankdir", rankdir), ("dpi", dpi), ("splines", splines)):
            dot.set(name, value)
    dot.set("concentrate", "true")
    dot.set_node_defaults(shape="plaintext", fontname="Helvetica", margin="0")
    groups = {None: dot}
    for box in picture.boxes:
        if box.group not in groups:
            path, name = box.group, box.group.rpartition("/")[2]
            groups[path] = pydot.Cluster(
                path.replace("/", "_"), style="dashed", label=_quoted(name), labeljust="l"
            )
            above = path.rpartition("/")[0]
            groups.get(above, dot).add_subgraph(groups[path])
        groups[box.group].add_node(pydot.Node(str(box.key), label=_table(box)))
    for start, end in picture.arrows:
        dot.add_edge(pydot.Edge(str(start), str(end)))
    return dot


def _check(model, rankdir, unknown):
    if "layer_range" in unknown:
        raise ValueError("`layer_range` is not supported: draw a model of these layers")
    if unknown:
        raise ValueError(f"unknown options: {sorted(unknown)}")
    if rankdir not in RANKDIRS:
        raise ValueError(f"`rankdir` must be one of {RANKDIRS}; got {rankdir!r}")
    if not model.built:
        raise ValueError(
            f"the model '{model.name}' is not built, so its layers are not connected yet: call "
            "`build()`, or the model on a batch"
        )


def _pydot():
    try:
        import pydot
    except ImportError:
        return None
    return pydot


def _quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _table(box):
    """A box as Graphviz's HTML."""
    cells = [f'<td bgcolor="white">{html.escape(cell)}</td>' for cell in box.cells]
    if box.trainable is not None:
        text = "Trainable" if box.trainable else "Non-trainable"
        cells.append(
            f'<td bgcolor="{COLORS[box.trainable]}"><font color="white">{text}</font></td>'
        )
    lower = f"<tr>{''.join(cells)}</tr>" if cells else ""
    return (
        '<<table border="0" cellborder="1" cellspacing="0" cellpadding="8"><tr>'
        f'<td bgcolor="black" colspan="{max(len(cells), 1)}"><font point-size="16" color="white">'
        f"{html.escape(box.title)}</font></td></tr>{lower}</table>>"
    )


# What is drawn ------------------------------------------------------------------------------------
@dataclasses.dataclass
class _Box:
    key: int
    title: str
    cells: list
    trainable: bool | None
    group: str | None  # the path of the models that it is drawn inside of


@dataclasses.dataclass
class _Picture:
    boxes: list
    arrows: list  # pairs of keys, each once


def _described(
    model,
    show_shapes=False,
    show_dtype=False,
    show_layer_names=True,
    expand_nested=False,
    show_layer_activations=False,
    show_trainable=False,
):
    """The boxes and arrows of a model."""
    boxes, arrows = [], []

    def is_open(operation):
        return expand_nested and getattr(operation, "_function", None) is not None

    def box(owner, layer, group):
        title = _title(layer, 0)
        name, _, kind = title.rpartition(" (")
        cells = []
        if show_layer_activations and callable(getattr(layer, "activation", None)):
            activation = layer.activation
            cells.append(
                f"Activation: {getattr(activation, '__name__', type(activation).__name__)}"
            )
        calls = _calls(owner, layer)
        if show_shapes or show_dtype:
            given = calls[0].outputs if calls else []
            taken = _parents(calls[0]) if calls else []
            if show_shapes and taken:
                cells.append(f"Input shape: {_of(taken, 'shape')}")
            if show_shapes and given:
                cells.append(f"Output shape: {_of(given, 'shape')}")
            if show_dtype and given:
                cells.append(f"Output dtype: {_of(given, 'dtype')}")
        trainable = layer.trainable if show_trainable and _weights(layer) else None
        shown = f"{name} ({kind}" if show_layer_names else kind.removesuffix(")")
        boxes.append(_Box(id(layer), shown, cells, trainable, group))

    def inside(owner, group):
        function = getattr(owner, "_function", None)
        if function is None:
            box(owner, owner, group)
            return
        for operation in _operations(owner):
            if is_open(operation):
                inside(operation, f"{group}/{operation.name}" if group else operation.name)
            else:
                box(owner, operation, group)
        for call in function.calls:
            for place, x in enumerate(_parents(call)):
                start = source(owner, x)
                if start is not None:
                    arrows.extend((start, end) for end in targets(operation_of(call), place))

    def source(owner, x):
        """The box that makes `x`; None for an input that is not drawn."""
        maker = operation_of(x.call)
        if is_open(maker):
            return source(maker, maker._function.outputs[x.index])
        return None if _hidden(owner, maker) else id(maker)

    def targets(operation, place):
        """The boxes that take what an operation gets as its input number `place`."""
        if not is_open(operation):
            return [id(operation)]
        function = operation._function
        entry = function.inputs[place]
        if not _hidden(operation, operation_of(entry.call)):
            return [id(operation_of(entry.call))]
        found = []
        for call in function.calls:
            for i, x in enumerate(_parents(call)):
                found += targets(operation_of(call), i) if x is entry else []
        return found

    inside(model, None)
    return _Picture(boxes, list(dict.fromkeys(arrows)))


def _hidden(model, operation):
    """Whether it is the input of a chain, which is not drawn."""
    return isinstance(operation, InputLayer) and operation not in _operations(model)


def _of(symbols, name):
    values = [getattr(x, name) for x in symbols if isinstance(x, Symbol)]
    return str(values[0]) if len(values) == 1 else f"[{', '.join(map(str, values))}]"


# Without Graphviz ---------------------------------------------------------------------------------
def _draw(picture, to_file, kind, rankdir, dpi):
    """Draw boxes in rows by how far they are from the inputs, arrows straight between them."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(
            "`plot_model` needs Graphviz (its `dot`) with pydot, or Matplotlib: pip install "
            "oneiros[plot]"
        ) from None
    texts = {box.key: "\n".join([box.title, *box.cells]) for box in picture.boxes}
    places = _places(picture)
    wide = max(len(line) for text in texts.values() for line in text.split("\n")) * 0.085 + 0.5
    high = max(text.count("\n") for text in texts.values()) * 0.17 + 0.75
    step = (wide, -high) if rankdir in ("TB", "BT") else (high, -wide - 0.4)
    at = {}
    for key, (row, column) in places.items():
        row = -row if rankdir in ("BT", "RL") else row
        x, y = column * step[0], row * step[1]
        at[key] = (x, y) if rankdir in ("TB", "BT") else (-y, -x)
    xs, ys = zip(*at.values())
    size = max(xs) - min(xs) + wide, max(ys) - min(ys) + high
    figure = Figure(figsize=size, dpi=min(dpi, 20000 / max(size)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(
        xlim=(min(xs) - wide / 2, max(xs) + wide / 2), ylim=(min(ys) - high / 2, max(ys) + high / 2)
    )
    axes.axis("off")
    drawn = {}
    for box in picture.boxes:
        color = {"white": "#f4f4f4", "forestgreen": "#d8efd8", "firebrick": "#f6d5d5"}
        drawn[box.key] = axes.text(
            *at[box.key],
            texts[box.key],
            ha="center",
            va="center",
            fontsize=9,
            bbox=dict(boxstyle="round", facecolor=color[COLORS[box.trainable]], edgecolor="black"),
        )
    for start, end in picture.arrows:
        (row, column), (last, other) = places[start], places[end]
        bend = 0  # around what lies between
        if last - row > 1 and abs(other - column) < 0.5:
            bend = 0.9 * step[0] / abs((last - row) * step[1])
        axes.annotate(
            "",
            at[end],
            at[start],
            arrowprops=dict(
                arrowstyle="-|>",
                facecolor="black",
                connectionstyle=f"arc3,rad={bend}",
                patchA=drawn[start].get_bbox_patch(),
                patchB=drawn[end].get_bbox_patch(),
                shrinkA=0,
                shrinkB=0,
            ),
            zorder=3,  # after the boxes, whose edges are known only when they are drawn
        )
    figure.savefig(to_file, format=kind)


def _places(picture):
    """Row and column of each box: below all that it takes, near the middle of them."""
    parents = {box.key: [] for box in picture.boxes}
    for start, end in picture.arrows:
        parents[end].append(start)
    rows, waiting = {}, list(parents)
    while waiting:
        ready = [k for k in waiting if all(p in rows for p in parents[k])] or waiting[:1]
        for key in ready:
            rows[key] = max((rows.get(p, 0) + 1 for p in parents[key]), default=0)
        waiting = [k for k in waiting if k not in rows]
    columns = {}
    for row in range(max(rows.values()) + 1):
        keys = [k for k in parents if rows[k] == row]
        middle = {k: [columns[p] for p in parents[k] if p in columns] for k in keys}
        keys.sort(key=lambda k: sum(middle[k]) / len(middle[k]) if middle[k] else 0)
        wish = sum(sum(m) / len(m) for m in middle.values() if m) / max(len(keys), 1)
        for i, key in enumerate(keys):
            columns[key] = wish + i - (len(keys) - 1) / 2
    return {key: (rows[key], columns[key]) for key in rows}
