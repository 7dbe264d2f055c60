"""Connectionist temporal classification (Graves et al., 2006): labels without an alignment."""

from __future__ import annotations

import numpy as np

from oneiros.core import primitives as p
from oneiros.core.op import array, float_of, op, to_dtype
from oneiros.ops.activations import log_softmax
from oneiros.ops.common import over, wide
from oneiros.ops.control import scan

__all__ = ["ctc_decode", "ctc_loss"]

NEVER = -1e5  # the logarithm of an impossible path: finite, so that derivatives stay finite


@op
def ctc_loss(target, output, target_length, output_length, mask_index=0):
    """`-log` of the probability that the frames of `output` spell the labels of `target`.

    Args:
        target: Integers (batch, labels).
        output: Logits (batch, frames, classes).
        target_length: How many labels of each row count.
        output_length: How many frames of each row count.
        mask_index: The class of the blank.

    Raises:
        ValueError: if the shapes do not fit.

    >>> from oneiros import ops
    >>> round(float(ops.ctc_loss([[1]], [[[0.0, 0.0]]], [1], [1])[0]), 4)
    0.6931
    """
    target, output = to_dtype(array(target), "int32"), wide(float_of(output))
    if len(target.shape) != 2 or len(output.shape) != 3 or target.shape[0] != output.shape[0]:
        raise ValueError(
            "ctc_loss: target must have the axes (batch, labels) and output (batch, frames, "
            "classes); got the "
            f"shapes {tuple(target.shape)} and {tuple(output.shape)}"
        )

    lengths, frames = (to_dtype(array(n), "int32") for n in (target_length, output_length))
    batch, count = target.shape
    states = 2 * count + 1
    labels = _with_blanks(target, mask_index)  # (batch, states)
    # The log-probability of each state's label at each frame.
    logs = log_softmax(output)
    places = p.broadcast_to(
        p.reshape(labels, shape=(batch, 1, states)), shape=(batch, output.shape[1], states)
    )
    emitted = p.transpose(
        p.gather_along(logs, places, axis=2), order=(1, 0, 2)
    )  # (frames, batch, states)
    # A label may follow the label before it at once if the two differ.
    skips = _shifted(labels, 2, -1)
    state = p.iota(shape=(1, states), axis=1, dtype="int32")
    odd = p.equal(p.bitwise_and(state, np.int32(1)), 1)
    may_skip = p.logical_and(p.logical_and(odd, p.greater(state, 1)), p.not_equal(labels, skips))

    def step(alpha, given):
        frame, now = given
        moved = p.select(may_skip, _shifted(alpha, 2, NEVER), NEVER)
        alpha2 = _log_sum(alpha, _shifted(alpha, 1, NEVER), moved) + now
        return p.select(p.less(frame, p.reshape(frames, shape=(batch, 1))), alpha2, alpha), None

    steps = p.iota(shape=(output.shape[1],), axis=0, dtype="int32")
    alpha = p.select(
        p.less(state, 2), _row(emitted, 0), NEVER
    )  # a path begins with a blank or the first label
    alpha, _ = scan(step, alpha, (_tail(steps), _tail(emitted)))
    end = p.reshape(lengths * 2, shape=(batch, 1))
    last = p.logical_or(p.equal(state, end), p.equal(state, end - 1))
    return -_log_total(p.select(last, alpha, NEVER * 10))


def _with_blanks(target, blank):
    """The labels with a blank before, between and after them."""
    batch, count = target.shape
    blanks = p.broadcast_to(np.int32(blank), shape=(batch, count, 1))
    pairs = p.concatenate(blanks, p.reshape(target, shape=(batch, count, 1)), axis=2)
    last = p.broadcast_to(np.int32(blank), shape=(batch, 1))
    return p.concatenate(p.reshape(pairs, shape=(batch, 2 * count)), last, axis=1)


def _shifted(x, by, fill):
    """`x` (batch, states) moved right by some states."""
    return p.pad(x, widths=((0, 0, 0), (by, -by, 0)), value=fill)


def _row(x, i):
    """Row `i` of the first axis of `x`."""
    part = p.slice(
        x,
        start=(i,) + (0,) * (len(x.shape) - 1),
        stop=(i + 1, *x.shape[1:]),
        strides=(1,) * len(x.shape),
    )
    return p.reshape(part, shape=tuple(x.shape[1:]))


def _tail(x):
    """`x` without its first row."""
    return p.slice(
        x, start=(1,) + (0,) * (len(x.shape) - 1), stop=tuple(x.shape), strides=(1,) * len(x.shape)
    )


def _log_sum(*xs):
    """`log(sum(exp))` of several arrays."""
    top = xs[0]
    for x in xs[1:]:
        top = p.maximum(top, x)
    top = p.stop_gradient(top)
    total = p.exp(xs[0] - top)
    for x in xs[1:]:
        total = total + p.exp(x - top)
    return p.log(total) + top


def _log_total(x):
    """`log(sum(exp))` over the last axis."""
    axes = (len(x.shape) - 1,)
    top = p.stop_gradient(over(p.reduce_max, x, axes))
    y = p.log(p.reduce_sum(p.exp(x - top), axes=axes))
    return y + p.reshape(top, shape=tuple(y.shape))


@op
def ctc_decode(
    inputs,
    sequence_lengths,
    strategy="greedy",
    beam_width=100,
    top_paths=1,
    merge_repeated=True,
    mask_index=0,
):
    """The labels that the frames of `inputs` spell, and how likely they are.

    Args:
        inputs: Logits (batch, frames, classes).
        sequence_lengths: How many frames of each row count.
        strategy: `"greedy"` takes the best class of each frame; `"beam_search"` adds up the
            alignments of
            each spelling, over the most likely ones.
        beam_width: How many spellings beam search keeps.
        top_paths: How many of them it returns.
        merge_repeated: Whether the greedy strategy joins equal neighbours.
        mask_index: The class of the blank; the last one if None.

    Returns:
        Labels (paths, batch, frames), -1 where there are no more, and scores (batch, paths): the
        sum of the
        chosen logits if greedy, else log-probabilities.

    Raises:
        ValueError: if the strategy is neither.

    >>> from oneiros import ops
    >>> labels, scores = ops.ctc_decode([[[0.0, 3.0], [2.0, 0.0], [0.0, 1.0]]], [3])
    >>> labels.tolist(), scores.tolist()
    ([[[1, 1, -1]]], [[-6.0]])
    """
    inputs = float_of(inputs)
    if len(inputs.shape) != 3:
        raise ValueError(
            "ctc_decode: inputs must have 3 axes (batch, frames, classes); got "
            f"{tuple(inputs.shape)}"
        )
    lengths = p.reshape(to_dtype(array(sequence_lengths), "int32"), shape=(inputs.shape[0], 1))
    blank = inputs.shape[2] - 1 if mask_index is None else mask_index
    if strategy == "greedy":
        return _greedy(inputs, lengths, merge_repeated, blank)
    if strategy == "beam_search":
        return _beam_search(wide(inputs), lengths, beam_width, top_paths, blank)
    raise ValueError(f"ctc_decode: strategy must be 'greedy' or 'beam_search'; got {strategy!r}")


def _greedy(inputs, lengths, merge_repeated, blank):
    batch, frames, _ = inputs.shape
    best = p.argmax(inputs, axis=2)  # (batch, frames)
    frame = p.iota(shape=(1, frames), axis=1, dtype="int32")
    counts = p.less(frame, lengths)
    score = -p.reduce_sum(p.select(counts, p.reduce_max(inputs, axes=(2,)), 0.0), axes=(1,))
    kept = p.logical_and(counts, p.not_equal(best, np.int32(blank)))
    if merge_repeated:
        kept = p.logical_and(kept, p.not_equal(best, _shifted(best, 1, -1)))
    order = p.argsort(
        p.cast(p.logical_not(kept), dtype="int32"), axis=1
    )  # the kept ones first, in order
    total = p.reduce_sum(p.cast(kept, dtype="int32"), axes=(1,))
    labels = p.gather_along(best, order, axis=1)
    labels = p.select(p.less(frame, p.reshape(total, shape=(batch, 1))), labels, -1)
    return p.reshape(labels, shape=(1, batch, frames)), p.reshape(score, shape=(batch, 1))


def _beam_search(inputs, lengths, width, paths, blank):
    """The most likely spellings, by prefix beam search (Hannun et al., 2014).

    Each beam is a prefix with the log-probabilities of its alignments that end in a blank and of
    those that
    end in its last label.
    """
    batch, frames, classes = inputs.shape
    logs = p.transpose(log_softmax(inputs), order=(1, 0, 2))  # (frames, batch, classes)
    whole = lambda value, *shape: p.broadcast_to(np.asarray(value), shape=(batch, width, *shape))
    first = p.equal(p.iota(shape=(batch, width), axis=1, dtype="int32"), 0)
    start = p.select(first, 0.0, whole(np.float32(NEVER)))
    place = p.iota(shape=(1, 1, frames), axis=2, dtype="int32")
    label = p.iota(shape=(1, 1, classes), axis=2, dtype="int32")

    def step(state, given):
        prefix, size, blanked, labelled = state
        frame, now = given  # now: (batch, classes)
        row = p.reshape(now, shape=(batch, 1, classes))
        size1 = p.reshape(size, shape=(batch, width, 1))
        last = p.reduce_max(p.select(p.equal(place, size1 - 1), prefix, -1), axes=(2,))
        repeats = p.equal(
            label, p.reshape(last, shape=(batch, width, 1))
        )  # (batch, width, classes)
        both = _log_sum(blanked, labelled)
        grown = p.select(
            repeats,
            p.reshape(blanked, shape=(batch, width, 1)),
            p.reshape(both, shape=(batch, width, 1)),
        )
        grown = p.select(p.equal(label, np.int32(blank)), NEVER, grown + row)
        again = p.select(
            p.greater(size, 0),
            labelled + p.reduce_sum(p.select(repeats, row, 0.0), axes=(2,)),
            NEVER,
        )
        # Where beam j is beam i with one label more, that growth of i is j: it goes to j and leaves
        # i.
        cut = p.select(p.equal(place, size1 - 1), -1, prefix)
        same = p.equal(
            p.reshape(prefix, shape=(batch, width, 1, frames)),
            p.reshape(cut, shape=(batch, 1, width, frames)),
        )
        alive = p.logical_and(
            p.greater(size, 0), p.greater(both, NEVER / 2)
        )  # the rest only fills the width
        parent = p.logical_and(
            p.reduce_all(same, axes=(3,)), p.reshape(alive, shape=(batch, 1, width))
        )
        # moves: (batch, i, j), the growth of i by the last label of j
        at = p.broadcast_to(
            p.reshape(p.maximum(last, 0), shape=(batch, 1, width)), shape=(batch, width, width)
        )
        moves = p.select(parent, p.gather_along(grown, at, axis=2), NEVER * 10)
        again = _log_sum(again, _log_total(p.transpose(moves, order=(0, 2, 1))))
        hits = p.reshape(
            p.equal(label, p.reshape(last, shape=(batch, width, 1))),
            shape=(batch, 1, width, classes),
        )
        taken = p.reduce_any(
            p.logical_and(p.reshape(parent, shape=(batch, width, width, 1)), hits), axes=(2,)
        )
        grown = p.select(taken, NEVER * 10, grown)
        stays = both + p.slice(now, start=(0, blank), stop=(batch, blank + 1), strides=(1, 1))
        # The best of all: beams that stay, then beams that grow.
        scores = p.concatenate(
            _log_sum(stays, again), p.reshape(grown, shape=(batch, width * classes)), axis=1
        )
        _, chosen = p.top_k(scores, k=width)
        grows = p.greater_equal(chosen, np.int32(width))
        moved = p.maximum(chosen - width, 0)
        beam = p.select(grows, p.floor_divide(moved, classes), chosen)
        new = p.select(grows, p.remainder(moved, classes), -1)
        pick = lambda x: p.gather_along(x, beam, axis=1)
        whole_beam = p.broadcast_to(
            p.reshape(beam, shape=(batch, width, 1)), shape=(batch, width, frames)
        )
        prefix2, size2 = p.gather_along(prefix, whole_beam, axis=1), pick(size)
        here = p.logical_and(
            p.equal(place, p.reshape(size2, shape=(batch, width, 1))),
            p.reshape(grows, shape=(batch, width, 1)),
        )
        prefix2 = p.select(here, p.reshape(new, shape=(batch, width, 1)), prefix2)
        made = (
            prefix2,
            size2 + p.cast(grows, dtype="int32"),
            p.select(grows, NEVER, pick(stays)),
            p.select(grows, p.gather_along(scores, chosen, axis=1), pick(again)),
        )
        on = p.less(frame, lengths)
        shaped = (p.reshape(on, shape=(batch, 1, 1)), on, on, on)
        return tuple(p.select(c, new, old) for c, new, old in zip(shaped, made, state)), None

    steps = p.iota(shape=(frames,), axis=0, dtype="int32")
    state = (whole(np.int32(-1), frames), whole(np.int32(0)), start, whole(np.float32(NEVER)))
    (prefix, _, blanked, labelled), _ = scan(step, state, (steps, logs))
    scores, best = p.top_k(_log_sum(blanked, labelled), k=paths)
    best = p.broadcast_to(p.reshape(best, shape=(batch, paths, 1)), shape=(batch, paths, frames))
    return p.transpose(p.gather_along(prefix, best, axis=1), order=(1, 0, 2)), scores
