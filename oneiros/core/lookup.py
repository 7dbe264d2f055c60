"""Families by name: the `get`, `serialize` and `deserialize` that every family of parts has.

A family (initializers, losses, ...) is a table of names to classes and functions. `getter` makes
its three functions from that table. What users registered is found too, and goes before the table.
"""

import inspect

from oneiros.core.naming import snake_case

__all__ = ["getter", "named"]


def named(*parts, **aliases):
    """A table of `parts` (classes and functions) by their names, classes in snake_case too."""
    table = {part.__name__: part for part in parts}
    table |= {snake_case(part.__name__): part for part in parts if inspect.isclass(part)}
    return table | aliases


def getter(kind, table, argument=None, config="config", example=None):
    """The functions `(get, serialize, deserialize)` of one family.

    Args:
        kind: What one of the family is called in messages, such as `"initializer"`.
        table: Names to classes and functions.
        argument: The name of `serialize`'s argument; by default `kind`.
        config: The name of `deserialize`'s first argument.
        example: The room and the name of one that takes no arguments, for the docstrings.
    """
    room, name = example or (f"{kind}s", next(iter(table)))
    named = "{}.__name__" if inspect.isfunction(table[name]) else "type({}).__name__"

    def get(identifier):
        if identifier is None:
            return None
        found = identifier
        if isinstance(identifier, (str, dict)):
            found = deserialize(identifier)
        elif inspect.isclass(identifier):
            found = identifier()
        if not callable(found):
            raise ValueError(
                f"`{kind}` must be a name, a config, a class or a callable; got {identifier!r}"
            )
        return found

    def serialize(part):
        from oneiros.core.registry import serialize_keras_object

        return serialize_keras_object(part)

    def deserialize(config, custom_objects=None):
        from oneiros.core.registry import deserialize_keras_object

        if isinstance(config, dict):
            if "class_name" not in config:
                raise ValueError(
                    f"the config of a {kind} must have a 'class_name'; got the keys {list(config)}"
                )
            config = {"config": {}, **config}
        found = deserialize_keras_object(config, custom_objects, module_objects=table)
        if isinstance(found, str):
            raise ValueError(f"there is no {kind} called {found!r}{_hint(found, table)}")
        return found

    for function, text in ((get, GET), (serialize, SERIALIZE), (deserialize, DESERIALIZE)):
        function.__doc__ = text.format(
            kind=kind, room=room, name=name, get=named.format(f'{room}.get("{name}")'),
            deserialize=named.format(f'{room}.deserialize("{name}")'),
        )  # fmt: skip
    return get, _renamed(serialize, part=argument or kind), _renamed(deserialize, config=config)


GET = """The {kind} that `identifier` stands for.

    `identifier` is a name, a config (as `serialize` gives), a class, a callable, which is returned
    as it is, or None, for none.

    Raises:
        ValueError: if it is anything else, or there is no {kind} of that name.

    >>> from oneiros import {room}
    >>> {get}
    '{name}'
    """
SERIALIZE = """The config of a {kind}: its class's name and its constructor's arguments.

    >>> from oneiros import {room}
    >>> {room}.serialize({room}.{name}())["class_name"]
    '{name}'
    """
DESERIALIZE = """The {kind} with that config, as `serialize` gave it.

    `custom_objects` are further classes and functions by name.

    Raises:
        ValueError: if the config names none that is known.

    >>> from oneiros import {room}
    >>> {deserialize}
    '{name}'
    """


def _hint(name, table):
    import difflib

    close = difflib.get_close_matches(name, table, n=3)
    return f"; close names: {', '.join(close)}" if close else ""


def _renamed(function, **names):
    """`function` with its arguments under other names, for callers that pass them by keyword."""
    signature = inspect.signature(function)
    rows = [p.replace(name=names.get(p.name, p.name)) for p in signature.parameters.values()]
    shown = signature.replace(parameters=rows)

    def renamed(*args, **kwargs):
        bound = shown.bind(*args, **kwargs)
        return function(*bound.args, **bound.kwargs)

    renamed.__signature__ = shown
    renamed.__name__ = renamed.__qualname__ = function.__name__
    renamed.__doc__ = function.__doc__
    return renamed
