"""Reading HDF5 files, with suspicion: the part of the format that files of Keras use.

The C library hangs or crashes on broken files, so files from elsewhere are read here: every address
is checked against the file's end, every structure is visited once, and a dataset is read when it is
asked for, within a budget of bytes. Links that leave the file, virtual and external data are
refused. The layouts are those of the HDF Group's "HDF5 File Format Specification", version 3.0.
"""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np

__all__ = ["Broken", "Bytes", "Dataset", "FileWindow", "Group", "read"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
NOWHERE = 0xFFFFFFFFFFFFFFFF
MAX_RANK = 32
REWRITE = "which is not read; rewrite the file with h5py's defaults"


class Broken(ValueError):
    """Raised for bytes that are not the HDF5 file that they should be."""


# Reading: objects
# --------------------------------------------------------------------------------------------------


def read(source, budget=None):
    """The root group of the file in `source`, a `Bytes` or `FileWindow`.

    Args:
        source: Where the bytes are.
        budget: The most bytes that all datasets together may unfold to; the file's size if None.
    """
    return _File(source, source.size if budget is None else budget).root


class Group:
    """Named groups and datasets, found when they are asked for."""

    def __init__(self, file, messages, depth):
        self._file, self._messages, self._depth, self._links = file, messages, depth, None

    @property
    def attrs(self):
        """The attributes: strings, numbers, arrays."""
        return _attributes(self._file, self._messages)

    def allow(self, size):
        """Let the datasets of the file unfold to `size` bytes more."""
        self._file.left += size

    def links(self):
        """Names to the addresses of the objects."""
        if self._links is None:
            self._links = _links(self._file, self._messages)
        return self._links

    def keys(self):
        return self.links().keys()

    def __iter__(self):
        return iter(self.links())

    def __len__(self):
        return len(self.links())

    def __contains__(self, path):
        return self.get(path) is not None

    def get(self, path):
        """The object at a path such as `layers/dense/vars`, or None."""
        found = self
        for name in path.strip("/").split("/"):
            if not name:
                continue
            address = found.links().get(name) if isinstance(found, Group) else None
            if address is None:
                return None
            found = self._file.object(address, found._depth + 1, name)
        return found

    def __getitem__(self, path):
        found = self.get(path)
        if found is None:
            raise KeyError(path)
        return found


class Dataset:
    """An array in the file: its shape and dtype are known, its values are read by `read`."""

    def __init__(self, file, messages, name):
        self._file, self._messages, self._name = file, messages, name
        self.shape = _dataspace(_required(messages, DATASPACE, name))
        self.dtype, self.strings = _datatype(_required(messages, DATATYPE, name))
        attrs = self.attrs
        if self.dtype.kind == "V" and isinstance(attrs.get("dtype"), str):
            self.dtype = _named_dtype(attrs["dtype"], self.dtype)

    @property
    def attrs(self):
        return _attributes(self._file, self._messages)

    @property
    def nbytes(self):
        return _product(self.shape) * self.dtype.itemsize

    def read(self):
        """The values, as an array in memory of its own."""
        if self.strings is not None:
            raise Broken(f"the dataset '{self._name}' holds strings; expected numbers")
        self._file.spend(self.nbytes, self._name)
        array = np.zeros(self.shape, self.dtype)
        if array.size:
            _fill(self._file, self._messages, array, self._name)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


class Bytes:
    """A file that is in memory."""

    def __init__(self, data):
        self.data, self.size = memoryview(data), len(data)

    def read(self, offset, size):
        if offset < 0 or size < 0 or offset + size > self.size:
            raise Broken(f"it ends too early: {size} bytes are missing at {offset}")
        return self.data[offset : offset + size]

    def read_into(self, offset, array):
        target = array.reshape(-1).view(np.uint8)
        target[:] = np.frombuffer(self.read(offset, target.nbytes), np.uint8)


class FileWindow:
    """A part of an open file, read where it is asked for."""

    def __init__(self, file, start=0, size=None):
        self.file, self.start = file, start
        self.size = os.fstat(file.fileno()).st_size - start if size is None else size
        self.block, self.block_at = b"", 0

    def read(self, offset, size):
        if offset < 0 or size < 0 or offset + size > self.size:
            raise Broken(f"it ends too early: {size} bytes are missing at {offset}")
        at = offset - self.block_at
        if not 0 <= at <= at + size <= len(self.block):
            self.file.seek(self.start + offset)
            self.block = self.file.read(min(max(size, 1 << 16), self.size - offset))
            self.block_at, at = offset, 0
            if len(self.block) < size:
                raise Broken("it became shorter while it was read")
        return memoryview(self.block)[at : at + size]

    def read_into(self, offset, array):
        target = memoryview(array.reshape(-1).view(np.uint8))
        if offset < 0 or offset + len(target) > self.size:
            raise Broken(f"it ends too early: {len(target)} bytes are missing at {offset}")
        self.file.seek(self.start + offset)
        if self.file.readinto(target) != len(target):
            raise Broken("it became shorter while it was read")


class _File:
    """What the objects of a file share: its bytes, its base address, what is left of the budget."""

    def __init__(self, source, budget):
        self.source, self.left, self.known = source, budget, {}
        start = 0
        while start + 96 <= source.size and bytes(source.read(start, 8)) != SIGNATURE:
            start = max(512, 2 * start)
        if start + 96 > source.size:
            raise Broken("it is not an HDF5 file (it has no HDF5 signature), or it is cut off")
        head = bytes(source.read(start, 96))
        version = head[8]
        if version in (0, 1):
            sizes = head[13], head[14]
            at = 24 if version == 0 else 28
            self.base, _, end, _ = struct.unpack_from("<4Q", head, at)
            (root,) = struct.unpack_from("<Q", head, at + 40) if at + 48 <= 96 else (NOWHERE,)
        elif version in (2, 3):
            sizes = head[9], head[10]
            self.base, _, end, root = struct.unpack_from("<4Q", head, 12)
        else:
            raise Broken(f"its superblock has the version {version}; versions up to 3 are known")
        if sizes != (8, 8):
            raise Broken(f"it has addresses and lengths of {sizes} bytes; expected 8 and 8")
        if self.base != start or end > source.size:
            raise Broken("it is cut off, or its base address is wrong")
        self.root = self.object(root, 0, "/")
        if not isinstance(self.root, Group):
            raise Broken("its root is not a group")

    def read(self, address, size):
        return self.source.read(self.base + address, size)

    def block(self, address, size, signature):
        """`size` bytes that begin with `signature`."""
        found = self.read(address, size)
        if bytes(found[:4]) != signature:
            raise Broken(f"expected {signature.decode()} at {address}; found {bytes(found[:4])!r}")
        return found

    def spend(self, size, name):
        self.left -= size
        if self.left < 0:
            raise Broken(f"'{name}' unfolds to {size} bytes, over the budget for this file")

    def object(self, address, depth, name):
        if address not in self.known:
            if depth > 100:
                raise Broken("its groups are nested more than 100 deep")
            messages = _messages(self, address)
            kinds = {kind for kind, _ in messages}
            if LAYOUT in kinds:
                self.known[address] = Dataset(self, messages, name)
            elif kinds & {SYMBOLS, LINK, LINK_INFO}:
                self.known[address] = Group(self, messages, depth)
            else:
                raise Broken(f"the object '{name}' is neither a group nor a dataset")
        return self.known[address]


# Reading: object headers
# --------------------------------------------------------------------------------------------------

DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT = 0x01, 0x02, 0x03, 0x06, 0x07, 0x08
FILTERS, ATTRIBUTE, CONTINUED, SYMBOLS, MANY_ATTRIBUTES = 0x0B, 0x0C, 0x10, 0x11, 0x15


def _messages(file, address):
    """The messages of the object header at `address`: pairs (kind, bytes)."""
    start = bytes(file.read(address, 6))
    if start[:4] == b"OHDR":
        return _messages_2(file, address, start)
    if start[0] != 1:
        raise Broken(f"there is no object header at {address}")
    (size,) = struct.unpack("<I", file.read(address + 8, 4))
    found, blocks, seen = [], [(address + 16, size)], {address + 16}
    while blocks:
        at, size = blocks.pop(0)
        block, i = bytes(file.read(at, size)), 0
        while i + 8 <= size:
            kind, length, flags = struct.unpack_from("<HHB", block, i)
            body = block[i + 8 : i + 8 + length]
            i += 8 + length
            _keep(found, blocks, seen, kind, flags, body, length)
    return found


def _messages_2(file, address, start):
    if start[4] != 2:
        raise Broken(f"the object header at {address} has the version {start[4]}; expected 1 or 2")
    flags, at = start[5], address + 6
    at += 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
    width = 1 << (flags & 3)
    size = int.from_bytes(file.read(at, width), "little")
    found, blocks, seen = [], [(at + width, size)], {at + width}
    head = 6 if flags & 4 else 4
    while blocks:
        at, size = blocks.pop(0)
        block, i = bytes(file.read(at, size)), 0
        if at != address and block[:4] == b"OCHK":
            block, i = block[:-4], 4
        while i + head <= len(block):
            kind, length, mark = struct.unpack_from("<BHB", block, i)
            body = block[i + head : i + head + length]
            i += head + length
            _keep(found, blocks, seen, kind, mark, body, length)
    return found


def _keep(found, blocks, seen, kind, flags, body, length):
    """Note one message; a continuation is a further block to read."""
    if len(body) != length:
        raise Broken("an object header is cut off")
    if kind == CONTINUED:
        at, size = _unpack("<QQ", body)
        if at in seen:
            raise Broken("an object header continues in itself")
        seen.add(at)
        blocks.append((at, size))
    elif kind == EXTERNAL:
        raise Broken("it keeps data in other files, which is refused")
    elif kind == MANY_ATTRIBUTES and _attributes_elsewhere(body):
        raise Broken(f"it keeps attributes in a fractal heap, {REWRITE}")
    elif kind in READ:
        if flags & 2:
            raise Broken(f"it has shared messages, {REWRITE}")
        found.append((kind, body))
    if len(found) > 1 << 16:
        raise Broken("an object header has too many messages")


READ = {DATASPACE, LINK_INFO, DATATYPE, LINK, LAYOUT, FILTERS, ATTRIBUTE, SYMBOLS}


def _attributes_elsewhere(body):
    flags = body[1] if len(body) > 1 else 0
    (heap,) = _unpack("<Q", body[2 + 2 * (flags & 1) :])
    return heap != NOWHERE


def _unpack(form, data):
    try:
        return struct.unpack_from(form, data)
    except struct.error:
        raise Broken("a structure in it is cut off") from None


def _required(messages, kind, name):
    for k, body in messages:
        if k == kind:
            return body
    raise Broken(f"the dataset '{name}' lacks a part of its description")


# Reading: groups
# --------------------------------------------------------------------------------------------------


def _links(file, messages):
    """Names to addresses, in the order of the file."""
    found = {}
    for kind, body in messages:
        if kind == SYMBOLS:
            tree, heap = _unpack("<QQ", body)
            names = _heap(file, heap)
            for node in _leaves(file, tree, 0, 0, set()):
                _read_symbols(file, node, names, found)
        elif kind == LINK:
            name, address = _link(body)
            found[name] = address
        elif kind == LINK_INFO:
            at = 2 + 8 * (body[1] & 1 if len(body) > 1 else 0)
            if _unpack("<Q", body[at:])[0] != NOWHERE:
                raise Broken(f"it keeps links in a fractal heap, {REWRITE}")
    return found


def _heap(file, address):
    """The names of a group, one after the other."""
    size, _, at = struct.unpack_from("<3Q", file.block(address, 32, b"HEAP"), 8)
    return bytes(file.read(at, size))


def _leaves(file, address, kind, extra, seen, level=None):
    """The children of a B-tree's lowest nodes; with `extra` bytes of key, pairs (key, child)."""
    if address == NOWHERE:
        return
    if address in seen:
        raise Broken("a B-tree in it loops")
    seen.add(address)
    head = bytes(file.block(address, 24, b"TREE"))
    found, depth, count = struct.unpack_from("<BBH", head, 4)
    if found != kind or (level is not None and depth != level - 1):
        raise Broken("a B-tree in it is damaged")
    key = extra or 8
    body = bytes(file.read(address + 24, count * (key + 8)))
    for i in range(0, len(body), key + 8):
        (child,) = struct.unpack_from("<Q", body, i + key)
        if depth:
            yield from _leaves(file, child, kind, extra, seen, depth)
        else:
            yield (body[i : i + key], child) if extra else child


def _read_symbols(file, address, names, found):
    head = file.block(address, 8, b"SNOD")
    (count,) = struct.unpack_from("<H", head, 6)
    body = bytes(file.read(address + 8, 40 * count))
    for name, header, kind in struct.iter_unpack("<QQI20x", body):
        if kind == 2:
            raise Broken("it has symbolic links, which are refused")
        end = names.find(b"\0", name)
        if name >= len(names) or end < 0:
            raise Broken("a name in it is cut off")
        found[_text(names[name:end])] = header


def _link(body):
    """A link of the newer kind: (name, address)."""
    version, flags = _unpack("<BB", body)
    at, kind = 2, 0
    if flags & 8:
        kind, at = body[at] if at < len(body) else -1, at + 1
    at += 8 * bool(flags & 4) + bool(flags & 16)
    width = 1 << (flags & 3)
    length = int.from_bytes(body[at : at + width], "little")
    at += width
    if version != 1 or at + length > len(body):
        raise Broken("a link in it is damaged")
    if kind != 0:
        raise Broken("it has symbolic or external links, which are refused")
    return _text(body[at : at + length]), _unpack("<Q", body[at + length :])[0]


def _text(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Broken(f"a name in it is not UTF-8: {data[:40]!r}") from None


# Reading: types and values
# --------------------------------------------------------------------------------------------------


def _dataspace(body):
    version, rank = _unpack("<BB", body)
    if rank > MAX_RANK:
        raise Broken(f"an array in it has {rank} axes; at most {MAX_RANK} are read")
    if version == 2 and body[3:4] == b"\x02":  # no elements at all
        return (0,)
    if version not in (1, 2):
        raise Broken("a shape in it is damaged")
    shape = _unpack(f"<{rank}Q", body[8 if version == 1 else 4 :])
    if _product(shape) >= 1 << 62:
        raise Broken(f"an array in it has the shape {shape}, which fits no memory")
    return shape


def _product(shape):
    total = 1
    for n in shape:
        total *= n
    return total


def _datatype(body):
    """The NumPy dtype of an element, and for strings how they are stored: "fixed" or "heap"."""
    kind, bits, size = _unpack("<B3sI", body)
    if kind & 15 != 9 and not 0 < size <= 1 << 16:
        raise Broken(f"an element in it takes {size} bytes")
    order = ">" if bits[0] & 1 else "<"
    kind, more = kind & 15, body[8:]
    if kind == 0 and size in (1, 2, 4, 8):
        return np.dtype(f"{order}{'i' if bits[0] & 8 else 'u'}{size}"), None
    if kind == 1 and size in (2, 4, 8) and (size, *_unpack("<4B", more[4:])) in FLOATS:
        return np.dtype(f"{order}f{size}"), None
    if kind == 3:
        return np.dtype(f"S{size}"), "fixed"
    if kind == 5 or kind == 4:
        return np.dtype(f"V{size}"), None
    if kind == 8:  # an enumeration: h5py's bool
        base, _ = _datatype(more)
        members = int.from_bytes(bits[:2], "little")
        is_bool = base.itemsize == 1 and members == 2 and b"FALSE\0" in more and b"TRUE\0" in more
        return np.dtype(bool) if is_bool else base, None
    if kind == 9 and bits[0] & 15 == 1 and size == 16:
        return np.dtype("V16"), "heap"
    if kind == 6 and size in (8, 16) and int.from_bytes(bits[:2], "little") == 2:
        if more[:2] == b"r\0" and b"i\0" in more:
            return np.dtype(f"<c{size}"), None
    raise Broken(f"it has values of a type that is not read (class {kind}, {size} bytes)")


FLOATS = {(2, 10, 5, 0, 10), (4, 23, 8, 0, 23), (8, 52, 11, 0, 52)}


def _named_dtype(name, raw):
    """The dtype that HDF5 has no name for, such as bfloat16."""
    from oneiros.core.dtypes import np_dtype

    try:
        dtype = np_dtype(name)
    except ValueError:
        raise Broken(f"it has values of the unknown dtype {name!r}") from None
    if dtype.itemsize != raw.itemsize or dtype.kind == "O":
        raise Broken(f"values of dtype {name} take {dtype.itemsize} bytes; found {raw.itemsize}")
    return dtype


def _attributes(file, messages):
    return dict(_attribute(file, body) for kind, body in messages if kind == ATTRIBUTE)


def _attribute(file, body):
    """An attribute: (name, value)."""
    version, flags, n, t, s = _unpack("<BBHHH", body)
    if version not in (1, 2, 3) or (version > 1 and flags):
        raise Broken("an attribute in it is damaged")
    at, parts = 9 if version == 3 else 8, []
    for size in (n, t, s):
        parts.append(body[at : at + size])
        at += (size + 7) // 8 * 8 if version == 1 else size
    name = _text(parts[0].rstrip(b"\0"))
    dtype, strings = _datatype(parts[1])
    shape = _dataspace(parts[2])
    count = _product(shape)
    data = body[at : at + count * dtype.itemsize]
    if len(data) != count * dtype.itemsize:
        raise Broken(f"the attribute '{name}' is cut off")
    if strings is None:
        value = np.frombuffer(data, dtype).reshape(shape)
        return name, value[()] if shape == () else value
    pieces = [data[i : i + dtype.itemsize] for i in range(0, len(data), dtype.itemsize)]
    texts = [_heap_string(file, p) if strings == "heap" else _text(p.rstrip(b"\0")) for p in pieces]
    return name, texts[0] if shape == () else texts


def _heap_string(file, place):
    """A string in a global heap."""
    length, address, index = struct.unpack("<IQI", place)
    if not length or address in (0, NOWHERE):
        return ""
    objects = file.known.get(("heap", address))
    if objects is None:
        objects = file.known["heap", address] = _heap_objects(file, address)
    if index not in objects:
        raise Broken("a string in it is missing")
    at, size = objects[index]
    if length > size:
        raise Broken("a string in it is cut off")
    file.spend(length, "strings")
    return _text(bytes(file.read(at, length)).rstrip(b"\0"))


def _heap_objects(file, address):
    (size,) = struct.unpack_from("<Q", file.block(address, 16, b"GCOL"), 8)
    objects, at, end = {}, address + 16, address + size
    while at + 16 <= end:
        index, length = struct.unpack_from("<H6xQ", file.read(at, 16))
        if index == 0:
            break
        if at + 16 + length > end:
            raise Broken("a heap in it is damaged")
        objects[index] = at + 16, length
        at += 16 + (length + 7) // 8 * 8
    return objects


def _fill(file, messages, array, name):
    """Read a dataset's values into `array`, which holds zeros."""
    body = _required(messages, LAYOUT, name)
    version, kind = _unpack("<BB", body)
    if version in (1, 2):
        rank, kind = _unpack("<BB", body[1:])
        at = 8
        body = body[at:] if kind else body[at + 4 * rank :]
        if kind == 2:
            body = bytes([rank]) + body
        elif kind == 0:
            body = body[:2] + body[4:]
    elif version == 3 or (version == 4 and kind < 2):
        body = body[2:]
    else:
        what = "is virtual" if kind == 3 else "has a layout of a newer kind"
        raise Broken(f"the dataset '{name}' {what}, {REWRITE}")
    filters = _filters(messages, name)
    if kind == 0:
        (size,) = _unpack("<H", body)
        if size != array.nbytes or len(body) < 2 + size:
            raise Broken(f"the dataset '{name}' holds {size} bytes; expected {array.nbytes}")
        array.reshape(-1).view(np.uint8)[:] = np.frombuffer(body, np.uint8, size, 2)
    elif kind == 1:
        (address,) = _unpack("<Q", body)
        if address != NOWHERE:  # else nothing was written: zeros
            file.source.read_into(file.base + address, array)
    elif kind == 2:
        _fill_chunks(file, body, filters, array, name)
    else:
        raise Broken(f"the dataset '{name}' has an unknown layout")


def _fill_chunks(file, body, filters, array, name):
    rank = _unpack("<B", body)[0] - 1
    address, *chunk = _unpack(f"<Q{rank}I", body[1:])
    if rank != array.ndim or 0 in chunk:
        raise Broken(f"the dataset '{name}' has damaged chunks")
    size = _product(chunk) * array.itemsize
    count = _product([-(-n // c) for n, c in zip(array.shape, chunk)])
    if size > 4 * array.nbytes + 65536:
        raise Broken(f"the dataset '{name}' has chunks larger than itself")
    for number, (key, at) in enumerate(_leaves(file, address, 1, 16 + 8 * rank, set())):
        if number >= count:
            raise Broken(f"the dataset '{name}' has more chunks than room for them")
        stored, skipped, *start = struct.unpack_from(f"<II{rank}Q", key)
        kept = [f for i, f in enumerate(filters) if not skipped >> i & 1]
        data = _unfiltered(bytes(file.read(at, stored)), kept, size, array.itemsize, name)
        piece = np.frombuffer(data, array.dtype).reshape(chunk)
        place = tuple(slice(s, s + c) for s, c in zip(start, chunk))
        if any(s >= n or s % c for s, c, n in zip(start, chunk, array.shape)):
            raise Broken(f"the dataset '{name}' has a chunk outside of itself")
        target = array[place]
        target[...] = piece[tuple(slice(n) for n in target.shape)]


def _filters(messages, name):
    """The filters of a dataset by number, in the order in which they were applied."""
    body = next((b for k, b in messages if k == FILTERS), None)
    if body is None:
        return []
    version, count = _unpack("<BB", body)
    at, found = 8 if version == 1 else 2, []
    for _ in range(count):
        (number,) = _unpack("<H", body[at:])
        length = 0
        at += 2
        if version == 1 or number >= 256:
            (length,) = _unpack("<H", body[at:])
            at += 2
        _, values = _unpack("<HH", body[at:])
        at += 4 + length + 4 * (values + (values % 2 if version == 1 else 0))
        if number not in (1, 2, 3):
            raise Broken(
                f"'{name}' went through the filter {number}; gzip, shuffle and fletcher32 are read"
            )
        found.append(number)
    return found


def _unfiltered(data, filters, size, width, name):
    """The bytes of a chunk, at most `size` of them."""
    for number in reversed(filters):
        if number == 1:
            unfold = zlib.decompressobj()
            try:
                data = unfold.decompress(data, size + 4)
            except zlib.error as error:
                raise Broken(f"the dataset '{name}' does not unfold: {error}") from None
        elif number == 2:
            whole = len(data) // width * width
            mixed = np.frombuffer(data[:whole], np.uint8).reshape(width, -1)
            data = mixed.T.tobytes() + data[whole:]
        else:
            data = data[:-4]
    if len(data) != size:
        raise Broken(f"the dataset '{name}' has a chunk of {len(data)} bytes; expected {size}")
    return data
