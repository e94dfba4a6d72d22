"""The tables of compare.py about rows of rows: float32, one thread on each side."""

import numpy as np
from benchmarks.nested import SENTENCES, WORDS, nested, pool_twice
from compare_ops import check
from tables import against, installed

import ragmask as rm

DOCUMENTS = 20_000


def rows_of_rows():
    """20,000 documents of about 8 sentences of about 12 words, a number a word."""
    rm.set_num_threads(1)  # as many as awkward has
    ak, batch = installed("awkward"), nested(DOCUMENTS)
    theirs = ak and ak.from_arrow(batch.to_arrow())
    peer = "awkward"

    def means():
        return ak.nan_to_num(ak.mean(ak.mean(theirs, axis=2), axis=1))

    def cut():
        return theirs[:, :3]

    def padded():
        short = theirs[:, :SENTENCES, :WORDS]
        words = ak.fill_none(ak.pad_none(short, WORDS, axis=2, clip=True), 0, axis=2)
        return ak.fill_none(
            ak.pad_none(words, SENTENCES, axis=1, clip=True), np.zeros(WORDS, np.float32), axis=1
        )

    if ak:
        size = SENTENCES, WORDS
        check(pool_twice(batch), ak.to_numpy(means()), "pooling")
        check(batch.to_padded(size).values, ak.to_numpy(padded()), "padding")
    yield against(
        "the mean of each document's means", lambda: pool_twice(batch), peer, ak and means, target=5
    )
    yield against("at most 3 sentences", lambda: batch.truncate(3), peer, ak and cut, target=5)
    yield against(
        f"dense, {SENTENCES} sentences of {WORDS} words",
        lambda: batch.to_padded((SENTENCES, WORDS)),
        peer,
        ak and padded,
        target=3,
    )


TABLES = [rows_of_rows]
