"""Writing HDF5 files in one go, front to back: descriptions first, then strings, then the arrays.

Groups are of the oldest kind, which every reader knows, as h5py writes them by default.
"""

from __future__ import annotations

import struct

import numpy as np

from oneiros.saving.hdf5 import ATTRIBUTE, DATASPACE, DATATYPE, LAYOUT, NOWHERE, SIGNATURE, SYMBOLS

__all__ = ["Node", "write"]

LEAF, INNER = 4, 4  # half of the room in the nodes of a group's tree


class Node(dict):
    """A group to be written: names to nodes or arrays, and attributes."""

    def __init__(self, attrs=None):
        super().__init__()
        self.attrs = attrs or {}

    def at(self, path):
        """The node at `path`, made where it is missing."""
        node = self
        for name in filter(None, path.split("/")):
            if name not in node:
                node[name] = Node()
            node = node[name]
        return node


def write(file, root):
    """Write the `Node` `root` and all below it to the open `file`, front to back."""
    layout = _Layout()
    top = layout.group(root)
    head = struct.pack("<8s8B", SIGNATURE, 0, 0, 0, 0, 0, 8, 8, 0)
    head += struct.pack("<HHI", LEAF, INNER, 0)
    end = layout.finish()
    head += struct.pack("<4Q", 0, NOWHERE, end, NOWHERE)
    head += struct.pack("<QQII16x", 0, top, 0, 0)
    file.write(head)
    file.write(layout.meta)
    for array in layout.arrays:
        data = np.ascontiguousarray(array)
        file.write(memoryview(data.reshape(-1).view(np.uint8)))
        file.write(bytes(-data.nbytes % 8))


class _Layout:
    """Where everything goes: descriptions first, then strings, then the arrays."""

    start = 96  # after the superblock

    def __init__(self):
        self.meta, self.arrays, self.size = bytearray(), [], 0
        self.data_places, self.strings = [], []

    def put(self, block):
        """The address of `block`, added to the descriptions."""
        address = self.start + len(self.meta)
        self.meta += block
        self.meta += bytes(-len(block) % 8)
        return address

    def group(self, node):
        """The address of a group's header."""
        entries = []
        for name in sorted(node, key=str.encode):
            child = node[name]
            made = self.group(child) if isinstance(child, Node) else self.dataset(child)
            entries.append((name.encode(), made))
        names, offsets = bytearray(8), []
        for name, _ in entries:
            offsets.append(len(names))
            names += name + b"\0"
            names += bytes(-len(names) % 8)
        segment = self.put(names)
        heap = self.put(struct.pack("<4s4x3Q", b"HEAP", len(names), 1, segment))
        tree = self.tree(offsets, [made for _, made in entries])
        return self.header([(SYMBOLS, struct.pack("<QQ", tree, heap))], node.attrs)

    def tree(self, offsets, headers):
        """The address of a group's B-tree: its root, over rows of nodes, over the symbols."""
        row, width = [], 2 * LEAF
        for i in range(0, len(offsets), width):
            pairs = list(zip(offsets[i : i + width], headers[i : i + width]))
            body = b"".join(struct.pack("<QQ24x", o, h) for o, h in pairs)
            block = struct.pack("<4sBxH", b"SNOD", 1, len(pairs)) + body.ljust(40 * width, b"\0")
            row.append((pairs[-1][0], self.put(block)))
        level, size = 0, 24 + (4 * INNER + 1) * 8
        while True:
            nodes = [row[i : i + 2 * INNER] for i in range(0, len(row), 2 * INNER)] or [[]]
            first, key, above = self.start + len(self.meta), 0, []
            for n, children in enumerate(nodes):
                left = first + (n - 1) * size if n else NOWHERE
                right = first + (n + 1) * size if n + 1 < len(nodes) else NOWHERE
                block = struct.pack("<4sBBHQQQ", b"TREE", 0, level, len(children), left, right, key)
                for key, child in children:
                    block += struct.pack("<QQ", child, key)
                above.append((key, self.put(block.ljust(size, b"\0"))))
            if len(above) == 1:
                return above[0][1]
            row, level = above, level + 1

    def dataset(self, array):
        """The address of the header of an array, whose values come later."""
        array = np.asarray(array)
        kind, attrs = _described(array.dtype)
        messages = [
            (DATASPACE, _dataspace_of(array.shape)),
            (DATATYPE, kind),
            (0x05, struct.pack("<4B", 2, 2, 2, 0)),  # no value for what is not written
            (LAYOUT, struct.pack("<BBQQ", 3, 1, NOWHERE, array.nbytes)),
        ]
        address = self.header(messages, attrs)
        if array.nbytes:
            at = address + 16 + sum(8 + _padded(len(body)) for _, body in messages[:3]) + 8 + 2
            self.data_places.append((at - self.start, self.size))
            self.arrays.append(array)
            self.size += _padded(array.nbytes)
        return address

    def header(self, messages, attrs):
        """The address of an object header."""
        body, places = bytearray(), []
        for name, value in attrs.items():
            messages = [*messages, (ATTRIBUTE, (name, value))]
        for kind, content in messages:
            if kind == ATTRIBUTE:
                content, found = self.attribute(*content)
                places += [(len(body) + 8 + at, text) for at, text in found]
            if len(content) > 0xFFF8:
                raise ValueError(f"an attribute of {len(content)} bytes does not fit a header")
            body += struct.pack("<HHB3x", kind, _padded(len(content)), 0)
            body += content
            body += bytes(-len(content) % 8)
        address = self.put(struct.pack("<BxHII4x", 1, len(messages), 1, len(body)) + body)
        self.strings += [(address - self.start + 16 + at, text) for at, text in places]
        return address

    def attribute(self, name, value):
        """An attribute's message, and where in it which strings belong."""
        texts = None
        if isinstance(value, (str, bytes)):
            texts, shape = [value], ()
        elif isinstance(value, (list, tuple)) and value and all(isinstance(v, str) for v in value):
            texts, shape = value, (len(value),)
        if texts is None:
            value = np.asarray(value)
            kind, data, shape = _described(value.dtype)[0], value.tobytes(), value.shape
        else:
            kind, data = TEXT, bytes(16 * len(texts))
        name, space = name.encode() + b"\0", _dataspace_of(shape)
        head = struct.pack("<BxHHH", 1, len(name), len(kind), len(space))
        for part in (name, kind, space):
            head += part + bytes(-len(part) % 8)
        places = [(len(head) + 16 * i, text) for i, text in enumerate(texts or ())]
        return head + data, places

    def finish(self):
        """Write the strings and fill in all addresses; the end of the file is given."""
        for i in range(0, len(self.strings), 60000):
            self.heap(self.strings[i : i + 60000])
        first = self.start + len(self.meta)
        for at, offset in self.data_places:
            struct.pack_into("<Q", self.meta, at, first + offset)
        return first + self.size

    def heap(self, places):
        body, address = bytearray(), self.start + len(self.meta)
        for index, (at, text) in enumerate(places, 1):
            data = text.encode() if isinstance(text, str) else text
            struct.pack_into("<IQI", self.meta, at, len(data), address, index)
            body += struct.pack("<HH4xQ", index, 1, len(data)) + data + bytes(-len(data) % 8)
        free = max(4096 - 16 - len(body), 0)
        if free >= 16:
            body += struct.pack("<HH4xQ", 0, 0, free)
        body = body.ljust(4096 - 16, b"\0")
        self.put(struct.pack("<4sB3xQ", b"GCOL", 1, 16 + len(body)) + body)


def _padded(n):
    return (n + 7) // 8 * 8


def _dataspace_of(shape):
    return struct.pack(f"<BBB5x{len(shape)}Q", 1, len(shape), 0, *shape)


def _described(dtype):
    """The description of a dtype, and the attributes that an array of it needs."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize
    if dtype.kind in "iu":
        sign = 8 if dtype.kind == "i" else 0
        return struct.pack("<BBBBIHH", 0x10, sign, 0, 0, size, 0, 8 * size), {}
    if dtype in FLOAT_PARTS:
        exponent, width, bias = FLOAT_PARTS[dtype]
        head = struct.pack("<BBBBIHH", 0x11, 0x20, 8 * size - 1, 0, size, 0, 8 * size)
        return head + struct.pack("<BBBBI", exponent, width, 0, exponent, bias), {}
    if dtype.kind == "b":
        base = struct.pack("<BBBBIHH", 0x10, 8, 0, 0, 1, 0, 8)
        names = b"FALSE\0\0\0TRUE\0\0\0\0"
        return struct.pack("<BBBBI", 0x18, 2, 0, 0, 1) + base + names + b"\0\1", {}
    if dtype.kind == "c":
        half, _ = _described(np.dtype(f"f{size // 2}"))
        body = b"".join(
            name.ljust(8, b"\0") + struct.pack("<IB3xI4x16x", at, 0, 0) + half
            for name, at in ((b"r", 0), (b"i", size // 2))
        )
        return struct.pack("<BBBBI", 0x16, 2, 0, 0, size) + body, {}
    name = dtype.name
    if name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return struct.pack("<BBBBI", 0x15, 0, 0, 0, size), {"dtype": name}
    raise TypeError(f"arrays of dtype {name} cannot be written to HDF5 files")


FLOAT_PARTS = {
    np.dtype("f2"): (10, 5, 15),
    np.dtype("f4"): (23, 8, 127),
    np.dtype("f8"): (52, 11, 1023),
}
TEXT = struct.pack("<BBBBI", 0x19, 0x01, 0x01, 0, 16) + struct.pack("<BBBBI", 0x13, 0x10, 0, 0, 1)
