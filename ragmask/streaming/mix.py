"""`rm.mix`: several streams in one, by weights."""

from collections.abc import Mapping
from dataclasses import replace
from math import isinf
from typing import Any

from ragmask.errors import InvalidInputError, UnsupportedTypeError
from ragmask.rows.checks import check_choice, check_count
from ragmask.streaming.mixture import (
    Kind,
    Mixture,
    Recipe,
    Until,
    Weights,
    check_weights,
    in_one_schema,
)
from ragmask.streaming.progress import Show, check_progress
from ragmask.streaming.settings import Settings, Shard
from ragmask.streaming.stream import Stream

_MOST_SOURCES = 1 << 16


def mix(
    streams: Mapping[str, Stream],
    weights: Weights | None = None,
    seed: int = 0,
    until: Until = "first",
    *,
    progress: Show | None = None,
) -> Stream:
    """One stream of several, whose rows or batches are drawn by weights.

    >>> import ragmask as rm
    >>> from ragmask.data import JAPANESE_VOWELS
    >>> parts = rm.stream(JAPANESE_VOWELS).split({"many": 0.9, "few": 0.1}, seed=0)
    >>> s = rm.mix(parts, weights={"many": 0.5, "few": 0.5}, seed=0).batch(rows=16)
    >>> batch = next(iter(s))
    >>> batch.sources.tolist().count("few"), batch.row_ids[batch.sources == "few"][:3]
    (9, array([ 3,  6, 24]))

    Parameters
    ----------
    streams : by name. Of streams before `batch`, rows are drawn; `shard`, `pack`, `shuffle` and
        `batch` of the mixture follow, across sources. Of streams after `batch`, batches are.
    weights : of sources by name, by default their rows' numbers; they need not sum to 1, and a
        source of weight 0 is never drawn. Or a function of the share of the sources that is
        done, from 0 to 1, that gives them: a curriculum. It is asked every 256 rows, for each
        batch, or where rows are shuffled, bucketed or packed for each window: of 100,000 rows,
        unless `shuffle(seed, window_rows=)` of the mixture says how many.
    seed : of the draws. The source of a row depends on the seed, the epoch, its number in the
        mixture and the weights alone.
    until : "first" ends an epoch when a source is drawn that has nothing left; "all" goes on with
        those that are left, so that each row is read once.
    progress : as for `rm.stream`; by default that of the first source that shows any.

    Each source keeps its own order: shuffle the sources, and `shuffle` the mixture only to mix
    rows further, inside windows. `repeat()` one that is to last as long as the others.

    `batch.sources` names the source of each row, and `batch.row_ids` are numbers in it; where rows
    are packed, of each piece that `cu_seqlens` bounds, one sequence after the other. A state
    holds where each source stands; one goes on under other weights too. A share of a mixture is one
    of each source.

    Sources have the same columns, in types that one type holds without loss.

    Returns a Stream. Raises InvalidInputError, naming the source, for what does not fit.
    """
    if not isinstance(streams, Mapping):
        raise UnsupportedTypeError(
            f'mix takes streams by name, {{"a": rm.stream(…), …}}; got {type(streams).__name__}'
        )
    if not streams:
        raise InvalidInputError("mix needs a stream at least")
    if len(streams) > _MOST_SOURCES:
        raise InvalidInputError(f"mix takes at most {_MOST_SOURCES:,} streams")
    for name, stream in streams.items():
        _check_source(name, stream)
    check_choice("until", until, "first", "all")
    names, of = tuple(streams), list(streams.values())
    batched = [name for name, stream in streams.items() if stream._settings.rows is not None]
    if batched and len(batched) < len(names):
        other = next(name for name in names if name not in batched)
        raise InvalidInputError(
            f"source {batched[0]!r} is cut into batches, and {other!r} is not: call batch() on "
            "all, to draw batches, or on the mixture, to draw rows"
        )
    recipes = [Recipe(stream._source, stream._settings, stream._maps) for stream in of]
    if not any(recipe.maps for recipe in recipes):
        recipes = in_one_schema(names, recipes)
    if weights is None:
        weights = _by_rows(names, recipes)
    elif not callable(weights):
        check_weights(weights, names)
        weights = dict(weights)
    kind: Kind = "batches" if batched else "rows"
    made = Mixture(tuple(recipes), kind, names, weights, check_count("seed", seed), until)
    if callable(weights):
        made.weights_at(0.0)
    shown = [stream._settings.progress for stream in of] if progress is None else [progress]
    show = check_progress(next((one for one in shown if one is not False), False))
    settings = Settings(progress=show)
    if batched:
        roundings = {stream._settings.rounding for stream in of}
        settings = replace(settings, rows=1, rounding=of[0]._settings.rounding)
        if len(roundings) > 1:
            raise InvalidInputError("batches of a mixture have one multiple_of and rows_multiple")
    return Stream(made, settings)


def _check_source(name: Any, stream: Any) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidInputError(f"a source's name is a text; got {name!r}")
    if not isinstance(stream, Stream):
        raise UnsupportedTypeError(
            f"source {name!r} is no Stream, but a {type(stream).__name__}: rm.stream(…)"
        )
    settings = stream._settings
    if settings.shard != Shard():
        raise InvalidInputError(f"source {name!r} is sharded: call shard() on the mixture")
    if settings.rows is None and stream._maps:
        raise InvalidInputError(
            f"source {name!r} has a map, which is of batches: call map() on the mixture, or "
            "batch() on the sources"
        )
    if settings.rows is None and settings.packing:
        raise InvalidInputError(f"source {name!r} is packed: pack() the mixture, or batch() it")


def _by_rows(names: tuple[str, ...], recipes: list[Recipe]) -> dict[str, float]:
    """The numbers of rows, as footers tell them."""
    rows = {name: float(one.rows) for name, one in zip(names, recipes, strict=True)}
    endless = [name for name, size in rows.items() if isinf(size)]
    if endless:
        raise InvalidInputError(
            f"source {endless[0]!r} is a mixture without end, which has no number of rows to weigh "
            "it by: give weights={name: weight, …}"
        )
    return rows if any(rows.values()) else dict.fromkeys(names, 1.0)
