"""Where a rank stands in a mixture: numbers drawn so far, and the place in each source."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, Union

from ragmask.streaming.plan import Deal, Place

AnyPlace = Union[Place, "MixedPlace", "LatePlace"]
"""A mixture's is a Place at the epoch's start alone."""


class Stint(NamedTuple):
    """Where a rank stands in one epoch of a source, and how its rows were dealt out anew."""

    epoch: int
    place: AnyPlace = Place()
    deals: tuple[Deal, ...] = ()


class Stand(NamedTuple):
    """Where a rank stands in a source.

    `stints` are the epoch it is in, and later ones of which other ranks had begun to read rows
    that were dealt out anew since. `done` counts its rows so far.
    """

    stints: tuple[Stint, ...]
    done: int = 0


class Opening(NamedTuple):
    """A window of mixed rows, of which `item` items are delivered: where it began, and whose."""

    number: int
    rows: int
    item: int
    rank: int
    world_size: int
    weights: tuple[float, ...]
    stands: tuple[Stand, ...]


class MixedPlace(NamedTuple):
    """Where a rank stands in an epoch of a mixture.

    `number` is that of the next draw; `weights` those in force until they are asked for again;
    `open` the windows whose rest comes first, where `number` and `stands` are behind them. Of
    the rows, or batches, before it, `skip` are to be left out, and then `left` delivered (None:
    all). `is_over` once a source has ended the mixture. `repeats` counts as for a Place.
    """

    number: int
    stands: tuple[Stand, ...]
    weights: tuple[float, ...] | None = None
    open: tuple[Opening, ...] = ()
    skip: int = 0
    left: int | None = None
    is_over: bool = False
    repeats: int = 0


class InWindow(Protocol):
    def place(self, at: int) -> MixedPlace: ...


class LatePlace(NamedTuple):
    """A place in a mixture that is worked out where somebody asks for it: few batches' are."""

    window: InWindow
    at: int


def settled(place: AnyPlace) -> Place | MixedPlace:
    """A place that is worked out."""
    return place.window.place(place.at) if isinstance(place, LatePlace) else place


# -- as JSON ------------------------------------------------------------------------------


def place_to_json(place: AnyPlace) -> Any:
    """Of plain lists, dicts and numbers."""
    place = settled(place)
    if isinstance(place, Place):
        return list(place)
    return place._asdict() | {
        "stands": _stands_to_json(place.stands),
        "weights": place.weights and list(place.weights),
        "open": [
            one._asdict() | {"weights": list(one.weights), "stands": _stands_to_json(one.stands)}
            for one in place.open
        ],
    }


def _stands_to_json(stands: Iterable[Stand]) -> list[Any]:
    return [
        [
            [[epoch, place_to_json(place), deals_to_json(deals)] for epoch, place, deals in stints],
            done,
        ]
        for stints, done in stands
    ]


def deals_to_json(deals: Iterable[Deal]) -> list[Any]:
    return [[place and list(place) for place in deal.places] for deal in deals]


def place_of_json(given: Any) -> AnyPlace:
    """Raises ValueError, TypeError or KeyError for what is no place."""
    if not isinstance(given, Mapping):
        return _plain(given)
    if set(given) != set(MixedPlace._fields):
        raise ValueError(f"{sorted(given)} are not the parts of a place")
    left, is_over = given["left"], given["is_over"]
    if not isinstance(is_over, bool):
        raise TypeError(f"{is_over!r} is no bool")
    place = MixedPlace(
        count(given["number"]),
        _stands_of_json(given["stands"]),
        None if given["weights"] is None else _weights(given["weights"]),
        tuple(map(_opening, given["open"])),
        count(given["skip"]),
        None if left is None else count(left),
        is_over,
        count(given["repeats"]),
    )
    sizes = {len(place.stands), *(len(one.stands) for one in place.open)}
    weights = [place.weights or place.stands, *(one.weights for one in place.open)]
    if len(sizes | set(map(len, weights))) != 1:
        raise ValueError("it is not of one number of sources")
    return place


def _plain(numbers: Any) -> Place:
    window, item, repeats = map(count, numbers)
    return Place(window, item, repeats)


def deals_of_json(given: Any) -> tuple[Deal, ...]:
    deals = tuple(
        Deal(tuple(None if place is None else _plain(place) for place in deal)) for deal in given
    )
    if not all(deal.places for deal in deals):
        raise ValueError("rows were dealt to no rank")
    return deals


def _stands_of_json(given: Any) -> tuple[Stand, ...]:
    stands = []
    for stints, done in given:
        made = tuple(
            Stint(count(epoch), place_of_json(place), deals_of_json(deals))
            for epoch, place, deals in stints
        )
        if not made or any(a.epoch >= b.epoch for a, b in pairwise(made)):
            raise ValueError("a source stands in no epoch, or in several at once")
        stands.append(Stand(made, count(done)))
    return tuple(stands)


def _opening(given: Any) -> Opening:
    if not isinstance(given, Mapping) or set(given) != set(Opening._fields):
        raise ValueError(f"{given!r} is not an open window")
    numbers = {
        name: count(given[name]) for name in ("number", "rows", "item", "rank", "world_size")
    }
    if numbers["rank"] >= numbers["world_size"]:
        raise ValueError(f"rank {numbers['rank']} is not of {numbers['world_size']}")
    stands = _stands_of_json(given["stands"])
    return Opening(**numbers, weights=_weights(given["weights"]), stands=stands)


def _weights(given: Any) -> tuple[float, ...]:
    weights = tuple(map(float, given))
    if not any(weights) or not all(0 <= weight < float("inf") for weight in weights):
        raise ValueError(f"{given!r} are not weights")
    return weights


def count(number: Any) -> int:
    """A count as it is. Raises ValueError for what is none."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"{number!r} is not a count")
    return number
