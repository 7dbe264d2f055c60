"""A model as a table: its layers, their output shapes, how many weights they have."""

from __future__ import annotations

import io
import re

from oneiros.core import tree
from oneiros.core.dtypes import size_of
from oneiros.core.operation import FunctionOperation, operation_of
from oneiros.core.symbol import Symbol
from oneiros.layers.input_layer import InputLayer

__all__ = ["print_summary"]

WIDTH = 76
# Where the columns end, as parts of the width.
POSITIONS = {
    (False, False): (0.45, 0.80, 1.0),
    (True, False): (0.30, 0.57, 0.74, 1.0),
    (False, True): (0.40, 0.73, 0.90, 1.0),
    (True, True): (0.28, 0.50, 0.66, 0.90, 1.0),
}
UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def print_summary(
    model,
    line_length=None,
    positions=None,
    print_fn=None,
    expand_nested=False,
    show_trainable=False,
    layer_range=None,
):
    """Show a table of a model's layers.

    Args:
        model: The model; what is not built yet has shapes of "?".
        line_length: Width of the table, in characters.
        positions: Where the columns end, as parts of the width or in characters.
        print_fn: Takes the whole text in place of showing it.
        expand_nested: Whether the layers of models inside the model are shown.
        show_trainable: Whether to show which layers are trained.
        layer_range: Patterns of the names of the first and the last layer to show.

    Raises:
        ValueError: if no layer matches `layer_range`.
    """
    text = summary(model, line_length, positions, expand_nested, show_trainable, layer_range)
    if print_fn is not None:
        print_fn(text)
        return
    from oneiros.callbacks.progress import write

    write(text)


def summary(model, line_length, positions, expand_nested, show_trainable, layer_range):
    """The table as text."""
    connected = not _is_chain(model)
    positions = positions or POSITIONS[connected, bool(show_trainable)]
    columns = [("Layer (type)", "left"), ("Output Shape", "left"), ("Param #", "right")]
    if connected:
        columns.append(("Connected to", "left"))
    if show_trainable:
        columns.append(("Trainable", "center"))
    rows = []
    for depth, owner, layer in _rows(model, expand_nested, layer_range):
        row = [_title(layer, depth), _shape(owner, layer), _count(layer)]
        if connected:
            row.append(_connections(owner, layer))
        if show_trainable:
            row.append(("Y" if layer.trainable else "N") if _weights(layer) else "-")
        rows.append(row)
    table = _table(columns, rows, positions, line_length or WIDTH)
    return f'Model: "{model.name}"\n{table}{_totals(model)}'


# Rows ---------------------------------------------------------------------------------------------
def _operations(model):
    """The layers, and the ops between them, that the table has a row for."""
    from oneiros.models.functional import Sequential

    function = getattr(model, "_function", None)
    if function is None or isinstance(model, Sequential):
        return model.layers
    extra = [layer for layer in model.layers if layer not in function.operations]
    return [*function.operations, *extra]


def _rows(model, expand_nested, layer_range):
    """Pairs of depth, the model around a layer, and the layer."""
    layers = _operations(model)
    if layer_range is not None:
        layers = _between(layers, layer_range)
    for layer in layers:
        yield 0, model, layer
        if expand_nested:
            yield from _inside(layer, 1)


def _inside(layer, depth):
    if not hasattr(layer, "_function"):
        return
    for inner in _operations(layer):
        yield depth, layer, inner
        yield from _inside(inner, depth + 1)


def _between(layers, layer_range):
    """The layers from the first to the last whose names match."""
    if len(layer_range) != 2 or not all(isinstance(name, str) for name in layer_range):
        raise ValueError(f"`layer_range` must hold two names of layers; got {layer_range}")
    first, last = (
        [i for i, layer in enumerate(layers) if re.match(pattern, layer.name)]
        for pattern in layer_range
    )
    if not first or not last:
        raise ValueError(
            f"`layer_range` {list(layer_range)} matches no layers; their names are "
            f"{[layer.name for layer in layers]}"
        )
    ends = sorted((min(first), max(last)))
    return layers[ends[0] : ends[1] + 1]


# Cells --------------------------------------------------------------------------------------------
def _title(layer, depth):
    kind = type(layer).__name__
    if isinstance(layer, FunctionOperation):
        from oneiros.models.op_names import class_name_of

        kind = class_name_of(layer._calls[0].target)
    mark = "   " * depth + "└ " if depth else ""
    return f"{mark}{layer.name} ({kind})"


def _shape(model, layer):
    """What a layer gives: its shape in the model's graph, else what its build says."""
    calls = _calls(model, layer)
    if calls:
        shapes = {_of_symbols([s.shape for s in call.outputs]) for call in calls}
        return shapes.pop() if len(shapes) == 1 else "multiple"
    shapes = getattr(layer, "_build_shapes", None)
    if not getattr(layer, "built", False) or shapes is None:
        return "?"
    try:
        if isinstance(shapes, dict) and all(key.endswith("_shape") for key in shapes):
            made = layer.compute_output_shape(**shapes)
        else:
            made = layer.compute_output_shape(shapes)
    except Exception:  # a user's layer may not be able to say
        return "?"
    return str(tuple(made) if isinstance(made, list) and not _nested(made) else made)


def _nested(shape):
    return any(isinstance(n, (list, tuple)) for n in shape)


def _of_symbols(shapes):
    return str(tuple(shapes[0])) if len(shapes) == 1 else str([tuple(s) for s in shapes])


def _calls(model, layer):
    """The calls of a layer in a model's graph."""
    function = getattr(model, "_function", None)
    if function is None:
        return list(getattr(layer, "_calls", ()))
    used = {id(call) for call in function.calls} | {id(x.call) for x in function.inputs}
    return [call for call in layer._calls if id(call) in used]


def _count(layer):
    if not getattr(layer, "built", True):
        return "0 (unbuilt)"
    return f"{_size(_weights(layer)):,}"


def _weights(layer):
    return list(getattr(layer, "weights", ()))


def _size(variables):
    return sum(v.size for v in variables)


def _connections(model, layer):
    """Where the inputs of a layer come from: maker, call, output."""
    if isinstance(layer, InputLayer):
        return "-"
    found = []
    for call in _calls(model, layer):
        for x in _parents(call):
            maker = operation_of(x.call)
            index = next(i for i, c in enumerate(_calls(model, maker)) if c is x.call)
            found.append(f"{maker.name}[{index}][{x.index}]")
    return ", ".join(found) or "-"


def _parents(call):
    return [x for x in tree.flatten((call.args, call.kwargs)) if isinstance(x, Symbol)]


def _is_chain(model):
    """Whether each layer takes what the one before it gives, and nothing else."""
    from oneiros.models.functional import Sequential

    function = getattr(model, "_function", None)
    if function is None or isinstance(model, Sequential):
        return True
    if len(function.inputs) > 1 or len(function.operations) != len(function.calls) + 1:
        return False
    used = [_parents(call) for call in function.calls]
    taken = [id(parents[0]) for parents in used if len(parents) == 1]
    return len(taken) == len(used) == len(set(taken))


def _totals(model):
    """The lines under the table: how many weights there are, and the room that they take."""
    weights = _unique(_weights(model))
    trainable = [v for v in weights if v.trainable]
    others = [v for v in weights if not v.trainable]
    optimizer = getattr(model, "optimizer", None)
    state = list(optimizer.variables) if optimizer is not None and optimizer.built else []
    lines = [
        ("Total params", [*weights, *state]),
        ("Trainable params", trainable),
        ("Non-trainable params", others),
    ]
    if state:
        lines.append(("Optimizer params", state))
    return "".join(f" {name}: {_size(vs):,} ({_memory(vs)})\n" for name, vs in lines)


def _unique(variables):
    return list({id(v): v for v in variables}.values())


def _memory(variables):
    """The room that variables take, in the unit that fits."""
    size = float(sum(v.size * size_of(v.dtype) for v in variables))
    for unit in UNITS:
        if size < 1024 or unit == UNITS[-1]:
            return f"{size:.2f} {unit}"
        size /= 1024


# The table ----------------------------------------------------------------------------------------
def _table(columns, rows, positions, length):
    """The rows under their titles, drawn by rich."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    ends = [int(p * length) if p <= 1 else int(p) for p in positions]
    ends = [ends[0], *[end - 1 for end in ends[1:]]]
    table = Table(width=ends[-1] + 1, show_lines=True)
    for (title, way), a, b in zip(columns, [0, *ends], ends):
        table.add_column(title, justify=way, width=max(b - a - 3, 1), overflow="ellipsis")
    for cells in rows:
        table.add_row(*map(Text, cells))
    screen = Console(
        file=io.StringIO(), width=ends[-1] + 1, color_system=None, legacy_windows=False
    )
    screen.print(table)
    return screen.file.getvalue()
