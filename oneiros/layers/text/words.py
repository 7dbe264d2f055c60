"""Words of a whole text at once: found, looked up and counted by NumPy, no object made for any.

Texts lie in one buffer with a zero between them. A word of up to 16 bytes is two 64-bit numbers,
which a table with open addressing knows; longer ones are looked up one by one.
"""

from __future__ import annotations

import numpy as np

__all__ = ["GramTable", "WordTable", "Words", "counted"]

SPACE = np.zeros(256, bool)
SPACE[[0, 9, 10, 11, 12, 13, 32]] = True
FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], "u8")
LOW = np.array([(1 << 8 * n) - 1 for n in range(9)], "u8")  # masks of the first bytes of a word


class Words:
    """The words of texts: where they begin, how long they are, how many each text has.

    >>> words = Words([b"a bc", b"", b"d"])
    >>> words.length.tolist(), words.counts.tolist()
    ([1, 2, 1], [2, 0, 1])
    """

    def __init__(self, texts):
        joined = b"\0".join([*texts, bytes(24)])
        self.text = joined
        data = np.frombuffer(joined, "u1")
        inside = np.empty(len(data) + 1, bool)
        inside[0], inside[1:] = False, ~SPACE[data]
        edges = np.flatnonzero(inside[1:] != inside[:-1])
        self.start, ends = edges[0::2], edges[1::2]
        self.length = ends - self.start
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        last = np.searchsorted(self.start, np.cumsum(lengths + 1))
        self.counts = np.diff(last, prepend=0)
        self.data = np.frombuffer(joined, "<u8", len(joined) // 8)

    def numbers(self):
        """The first 16 bytes of each word as two numbers; zeros behind its end."""
        length = np.minimum(self.length, 16)
        first = self._load(self.start) & LOW[np.minimum(length, 8)]
        second = np.zeros_like(first)
        long = np.flatnonzero(length > 8)
        second[long] = self._load(self.start[long] + 8) & LOW[length[long] - 8]
        return first, second

    def _load(self, place):
        word, shift = place >> 3, ((place & 7) << 3).astype("u8")
        return (self.data[word] >> shift) | (self.data[word + 1] << (np.uint64(64) - shift))

    def at(self, places):
        """Words as bytes."""
        pairs = zip(self.start[places].tolist(), self.length[places].tolist())
        return [self.text[a : a + n] for a, n in pairs]


class Table:
    """Pairs of 64-bit numbers, each with a number of its own, in open addressing."""

    def __init__(self, first, second, number):
        self.first, self.second, self.number = first, second, number
        self.bits = max(4, (4 * len(first)).bit_length())
        self.slots = np.full(1 << self.bits, -1, np.int32)
        left, slot = np.arange(len(first)), self._slot(first, second)
        while len(left):
            free = self.slots[slot] < 0
            self.slots[slot[free]] = left[free]  # of several for one slot, the last stays
            placed = self.slots[slot] == left
            left, slot = left[~placed], (slot[~placed] + 1) & (len(self.slots) - 1)

    def _slot(self, first, second):
        mixed = (first ^ (second * FACTORS[1])) * FACTORS[0]
        return ((mixed ^ (mixed >> np.uint64(29))) >> np.uint64(64 - self.bits)).astype(np.int64)

    def look_up(self, first, second, unknown):
        """The number of each pair; `unknown` for those that are not here."""
        made = np.full(len(first), unknown, np.int64)
        if not len(self.first):
            return made
        slot, left = self._slot(first, second), slice(None)
        while True:
            found = self.slots[slot]
            hit = (self.first[found] == first[left]) & (self.second[found] == second[left])
            hit &= found >= 0
            places = np.flatnonzero(hit) if isinstance(left, slice) else left[hit]
            made[places] = self.number[found[hit]]
            again = np.flatnonzero(~hit & (found >= 0))
            if not len(again):
                return made
            left = again if isinstance(left, slice) else left[again]
            slot = (slot[again] + 1) & (len(self.slots) - 1)


class WordTable:
    """Words, as bytes, and the number of each."""

    def __init__(self, words, numbers):
        short = [(w, n) for w, n in zip(words, numbers) if 0 < len(w) <= 16 and b"\0" not in w]
        self.rest = {w: n for w, n in zip(words, numbers) if len(w) > 16}
        keys = np.array([w for w, _ in short], "S16").view("<u8").reshape(-1, 2)
        number = np.array([n for _, n in short], np.int64)
        self.table = Table(*(np.ascontiguousarray(column) for column in keys.T), number)

    def look_up(self, words, unknown):
        """The number of each of `words`; `unknown` for those that are not here."""
        made = self.table.look_up(*words.numbers(), unknown)
        long = np.flatnonzero(words.length > 16)
        made[long] = [self.rest.get(w, unknown) for w in words.at(long)]
        return made


class GramTable:
    """Tokens of one word or several, and the number of each: a tree, a word for each step."""

    def __init__(self, tokens, numbers):
        words, nodes, steps = {}, {}, []
        for token in tokens:
            path = ()
            for word in token.split(b" "):
                number = words.setdefault(word, len(words))
                before, path = nodes.get(path), (*path, number)
                if path not in nodes:
                    nodes[path] = len(nodes)
                    steps.append((-1 if before is None else before, number, nodes[path]))
        self.words = WordTable(words, range(len(words)))
        first, second, node = (np.array(column, np.int64) for column in zip(*steps))
        self.steps = Table(first.view("u8"), second.view("u8"), node)
        self.number = np.full(len(nodes), -1, np.int64)
        for token, number in zip(tokens, numbers):
            self.number[nodes[tuple(words[w] for w in token.split(b" "))]] = number

    def look_up(self, words, sizes, unknown):
        """The numbers of all runs of so many words, of each text together, and how many it has."""
        number = self.words.look_up(words, -2)
        counts, begin = words.counts, np.cumsum(words.counts) - words.counts
        parts = {n: np.maximum(counts - n + 1, 0) for n in sizes}
        total = sum(parts.values())
        made, place = np.empty(int(total.sum()), np.int64), np.cumsum(total) - total
        node, found = np.full(len(number), -1, np.int64), {}
        for n in range(1, max(sizes) + 1):
            after = number[n - 1 :]
            node = node[: len(after)]
            node = self.steps.look_up(node.view("u8"), after.view("u8"), -3)
            found[n] = node
        for n in sizes:
            inner = np.arange(int(parts[n].sum())) - np.repeat(
                np.cumsum(parts[n]) - parts[n], parts[n]
            )
            at = found[n][np.repeat(begin, parts[n]) + inner]
            index = np.where(at >= 0, self.number[at], -1)
            made[np.repeat(place, parts[n]) + inner] = np.where(index >= 0, index, unknown)
            place = place + parts[n]
        return made, total


def counted(words):
    """Each word once, as bytes, and how often it is there."""
    first, second = words.numbers()
    found = {}
    for rows, width in ((words.length <= 8, 1), ((words.length > 8) & (words.length <= 16), 2)):
        keys = np.stack([first[rows], second[rows]][:width], axis=1)
        keys = keys[:, 0] if width == 1 else np.ascontiguousarray(keys).view("S16")[:, 0]
        values, counts = np.unique(keys, return_counts=True)
        found.update(zip(values.view(f"S{8 * width}").tolist(), counts.tolist()))
    for word in words.at(np.flatnonzero(words.length > 16)):
        found[word] = found.get(word, 0) + 1
    return found
