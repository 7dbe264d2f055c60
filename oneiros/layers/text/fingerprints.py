"""Hashes of strings: FarmHash64, SipHash-2-4 and their combination, many strings at a time.

The bytes of all strings lie end to end in one buffer; strings of one class of lengths are hashed
together, each step one NumPy operation over 64-bit words.
"""

from __future__ import annotations

import numpy as np

__all__ = ["as_decimals", "crossed", "farmhash64", "siphash24"]

K0, K1, K2 = np.array([0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F], "u8")
CAT = np.uint64(0xC6A4A7935BD1E995)
SIP = np.frombuffer(b"uespemosmodnarodarenegylsetybdet", "<u8")
U = np.uint64


def as_decimals(x):
    """Integers or booleans as bytes: what stands for a number where strings are hashed.

    >>> as_decimals(np.array([7, -12])).tolist()
    [b'7', b'-12']
    """
    x = x.ravel()
    if x.dtype.kind == "b":
        return np.where(x, b"true", b"false")
    rest = np.abs(x.astype("int64")).astype("u8")
    powers = U(10) ** np.arange(20, dtype="u8")
    negative, count = x < 0, np.maximum(np.searchsorted(powers, rest, side="right"), 1)
    made = np.zeros((len(x), int((count + negative).max(initial=1))), "u1")
    made[negative, 0] = ord("-")
    last, rows = count + negative - 1, np.arange(len(x))
    for place in range(int(count.max(initial=0))):
        fits = rows if (count > place).all() else np.flatnonzero(count > place)
        rest_of = rest[fits]
        rest[fits] = tens = rest_of // U(10)
        made[fits, last[fits] - place] = (rest_of - tens * U(10)).astype("u1") + ord("0")
    return made.view(f"S{made.shape[1]}")[:, 0]


def farmhash64(strings):
    """The 64-bit fingerprint (FarmHash, "na" variant; Pike and Alakuijala, 2014) of each string.

    `strings` is a list of bytes, or a NumPy array of them.

    >>> print(farmhash64([b"", b"Oneiros"]) % 1000)
    [263 197]
    """
    made = np.full(len(strings), K2, "u8")
    for words, length, rows in _laid_out(strings):
        for low, high, hash_ in CLASSES:
            if length.max() < low or length.min() > high:
                continue
            fits = (length >= low) & (length <= high)
            if fits.all():
                made[rows] = hash_(words, length)
            else:
                places = np.flatnonzero(fits)
                made[rows[places]] = hash_(words.rows(places), length[places])
    return made


def crossed(columns):
    """The fingerprint of several fingerprints in this order, for each row."""
    made = np.full(len(columns[0]), 0xDECAFCAFFE, "u8")
    for column in columns:
        x = (made ^ CAT) ^ _mixed(column * CAT) * CAT
        made = _mixed(_mixed(x * CAT) * CAT)
    return made


def siphash24(strings, key):
    """SipHash-2-4 (Aumasson and Bernstein, 2012) of each string, under a key of two numbers."""
    key, made = [U(int(k) & (2**64 - 1)) for k in key], np.zeros(len(strings), "u8")
    for words, length, rows in _laid_out(strings):
        state, whole = (
            [np.full(len(length), w ^ key[i % 2]) for i, w in enumerate(SIP)],
            length >> 3,
        )
        for block in range(int(whole.max())):
            deep = np.flatnonzero(whole > block)
            if len(deep) == len(length):
                _absorb(state, words.at(8 * block))
                continue
            part = [v[deep] for v in state]
            _absorb(part, words.rows(deep).at(8 * block))
            for v, p in zip(state, part):
                v[deep] = p
        rest = words.at(8 * whole) & ((U(1) << (8 * (length & 7)).astype("u8")) - U(1))
        _absorb(state, rest | (length.astype("u8") << U(56)))
        state[2] = state[2] ^ U(0xFF)
        for _ in range(4):
            _sip_round(state)
        made[rows] = state[0] ^ state[1] ^ state[2] ^ state[3]
    return made


def _absorb(v, word):
    v[3] = v[3] ^ word
    _sip_round(v)
    _sip_round(v)
    v[0] = v[0] ^ word


def _sip_round(v):
    a, b, c, d = v
    a, c = a + b, c + d
    b, d = _left(b, 13) ^ a, _left(d, 16) ^ c
    a = _left(a, 32)
    c, a = c + b, a + d
    b, d = _left(b, 17) ^ c, _left(d, 21) ^ a
    v[:] = a, b, _left(c, 32), d


# Bytes --------------------------------------------------------------------------------------------
WIDTHS = (8, 16, 32, 64)  # strings of like lengths are laid out together
CHUNK = 1 << 18  # bytes laid out at once: what is made of them stays in the cache


def _laid_out(strings):
    """Parts of the strings: the words of their bytes, their lengths, their places."""
    if isinstance(strings, np.ndarray):
        length = np.strings.str_len(strings).astype(np.int64)
        pick = lambda rows: strings if len(rows) == len(strings) else strings[rows]
    else:
        length = np.fromiter(map(len, strings), np.int64, len(strings))
        pick = lambda rows: strings if len(rows) == len(strings) else [strings[i] for i in rows]
    if not len(length):
        return
    kind, every = np.searchsorted(WIDTHS, length), np.arange(len(length))
    for k in np.unique(kind):
        rows = every if (kind == k).all() else np.flatnonzero(kind == k)
        if k == len(WIDTHS):
            rows = rows[np.argsort(length[rows], kind="stable")]
        while len(rows):
            width = WIDTHS[k] if k < len(WIDTHS) else int(length[rows].max())
            count = max(1, CHUNK // width)
            if k == len(WIDTHS):  # the longest of the part says how wide it is
                count = min(count, 1024)
                width = int(length[rows[:count]].max())
            yield _Words.of(pick(rows[:count]), width), length[rows[:count]], rows[:count]
            rows = rows[count:]


class _Words:
    """The bytes of strings as little-endian 64-bit words, one row for each string."""

    def __init__(self, table):
        self.table = table

    @classmethod
    def of(cls, strings, width):
        size = width // 8 + 2  # what follows the last byte is zero
        return cls(np.asarray(strings, f"S{8 * size}").view("<u8").reshape(-1, size))

    def rows(self, places):
        return _Words(self.table[places])

    def at(self, offset):
        """The eight bytes from `offset`, a number or one for each string."""
        if isinstance(offset, int) and offset % 8 == 0:
            return self.table[:, offset // 8]
        table, offset = self.table, np.broadcast_to(offset, len(self.table))
        if not (offset >> 3).any():
            low, high, shift = table[:, 0], table[:, 1], ((offset & 7) * 8).astype("u8")
            return (low >> shift) | (high << (U(64) - shift))
        place = np.arange(len(table)) * table.shape[1] + (offset >> 3)
        shift = ((offset & 7) * 8).astype("u8")
        low, high = table.ravel()[place], table.ravel()[place + 1]
        return (low >> shift) | (high << (U(64) - shift))


def _left(x, n):
    return (x << U(n)) | (x >> U(64 - n))


def _right(x, n):
    return _left(x, 64 - n)


def _mixed(x):
    return x ^ (x >> U(47))


# FarmHash by length -------------------------------------------------------------------------------
def _byte(s, offset):
    return s.at(offset) & U(0xFF)


def _half(s, offset):
    return s.at(offset) & U(0xFFFFFFFF)


def _pair(u, v, factor):
    """Two words as one."""
    return _mixed((v ^ _mixed((u ^ v) * factor)) * factor) * factor


def _factor(n):
    return K2 + n.astype("u8") * U(2)


def _to_3(s, n):
    y = _byte(s, 0) + (_byte(s, n >> 1) << U(8))
    z = n.astype("u8") + (_byte(s, n - 1) << U(2))
    return _mixed(y * K2 ^ z * K0) * K2


def _to_7(s, n):
    return _pair(n.astype("u8") + (_half(s, 0) << U(3)), _half(s, n - 4), _factor(n))


def _to_16(s, n):
    factor, a, b = _factor(n), s.at(0) + K2, s.at(n - 8)
    return _pair(_right(b, 37) * factor + a, (_right(a, 25) + b) * factor, factor)


def _ends(s, n, first):
    """What the hashes of 17 to 64 bytes have in common: of the first and last 16."""
    factor = _factor(n)
    a, b, c, d = s.at(0) * first, s.at(8), s.at(n - 8) * factor, s.at(n - 16) * K2
    y = _right(a + b, 43) + _right(c, 30) + d
    return factor, a, y, a + _right(b + K2, 18) + c


def _to_32(s, n):
    factor, _, y, z = _ends(s, n, K1)
    return _pair(y, z, factor)


def _to_64(s, n):
    factor, a, y, z = _ends(s, n, K2)
    z = _pair(y, z, factor)
    e, f = s.at(16) * factor, s.at(24)
    g, h = (y + s.at(n - 32)) * factor, (z + s.at(n - 24)) * factor
    return _pair(_right(e + f, 43) + _right(g, 30) + h, e + _right(f + a, 18) + g, factor)


def _longer(s, n):
    x = np.full(len(n), 81, "u8")
    y = x * K1 + U(113)
    z = _mixed(y * K2 + U(113)) * K2
    zero = np.zeros(len(n), "u8")
    state = [x * K2 + s.at(0), y, z, zero, zero, zero, zero]
    blocks = (n - 1) // 64
    for block in range(int(blocks.max())):
        rows = np.flatnonzero(blocks > block)
        part = _round(_From(s.rows(rows), 64 * block), [v[rows] for v in state], K1)
        state = [v.copy() for v in state]
        for v, p in zip(state, part):
            v[rows] = p
    x, y, z, v1, v2, w1, w2 = state
    factor = K1 + ((z & U(0xFF)) << U(1))
    w1 = w1 + ((n - 1) & 63).astype("u8")
    v1 = v1 + w1
    w1 = w1 + v1
    last = _From(s, n - 64)
    x, y, z, v1, v2, w1, w2 = _round(last, [x, y, z, v1, v2, w1, w2], factor, U(9))
    return _pair(
        _pair(v1, w1, factor) + _mixed(y) * K0 + z, _pair(v2, w2, factor) + x, factor
    )  # fmt: skip


class _From:
    """Words whose offsets are counted from a later byte."""

    def __init__(self, words, first):
        self.words, self.first = words, first

    def at(self, offset):
        return self.words.at(self.first + offset)


def _round(s, state, factor, nine=U(1)):
    """64 bytes go into the seven words; the last ones with factors of their own."""
    x, y, z, v1, v2, w1, w2 = state
    x = _right(x + y + v1 + s.at(8), 37) * factor
    y = _right(y + v2 + s.at(48), 42) * factor
    x = x ^ w2 * nine
    y = y + v1 * nine + s.at(40)
    z = _right(z + w1, 33) * factor
    v1, v2 = _weak(s, 0, v2 * factor, x + w1)
    w1, w2 = _weak(s, 32, z + w2, y + s.at(16))
    return [z, y, x, v1, v2, w1, w2]


def _weak(s, offset, a, b):
    """32 bytes and two seeds as two words."""
    w, x, y, z = (s.at(offset + i) for i in (0, 8, 16, 24))
    a = a + w
    b = _right(b + a + z, 21)
    c = a
    a = a + x + y
    return a + z, b + _right(a, 44) + c


CLASSES = (
    (1, 3, _to_3), (4, 7, _to_7), (8, 16, _to_16), (17, 32, _to_32), (33, 64, _to_64),
    (65, np.inf, _longer),
)  # fmt: skip
