"""A stream's state: where a rank stands, and how to go on from it, on as many ranks or others."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ragmask.errors import InvalidInputError
from ragmask.streaming.places import (
    AnyPlace,
    count,
    deals_of_json,
    deals_to_json,
    place_of_json,
    place_to_json,
    settled,
)
from ragmask.streaming.plan import Deal, Place

VERSION = 3
_CUTS = ("rows", "tokens", "bucket", "pack", "column", "multiple_of", "rows_multiple")
_WHOLE_WINDOWS = (
    ". Batches by tokens or in buckets, and packed sequences, are cut from a whole window, which "
    "cannot be cut in another way once it is begun: go on as before, or begin an epoch with "
    "set_epoch"
)


class Even(NamedTuple):
    """How many times a rank repeats a batch at the end of its epoch, and which.

    It is the rank's own last one, which begins at `begin`, as far as the rank has come. A rank
    without a batch repeats the first of rank `lender`.
    """

    due: int
    lender: int
    begin: AnyPlace = Place()


class State(NamedTuple):
    """Where one rank stands in an epoch.

    `data` and `settings` tell the stream from others, `deals` how rows were dealt out anew in
    this epoch. `even` is what `shard(even=True)` came to, which may take a pass to know; None
    before that, and without it.
    """

    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    epoch: int = 0
    rank: int = 0
    world_size: int = 1
    place: AnyPlace = Place()
    deals: tuple[Deal, ...] = ()
    even: Even | None = None

    def to_dict(self) -> dict[str, Any]:
        """Of plain lists, dicts, numbers and texts. Its size grows with ranks, never with rows."""
        told = {
            "version": VERSION,
            "data": dict(self.data),
            "settings": dict(self.settings),
            "epoch": self.epoch,
            "rank": self.rank,
            "world_size": self.world_size,
            "place": place_to_json(self.place),
            "deals": deals_to_json(self.deals),
            "even": self.even and [*self.even[:2], place_to_json(self.even.begin)],
        }
        return sealed(told)


def sealed(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a state says, and its checksum, by which accidents and edits are noticed."""
    contents = {name: value for name, value in told.items() if name != "checksum"}
    text = json.dumps(contents, sort_keys=True)
    return contents | {"checksum": hashlib.sha256(text.encode()).hexdigest()[:16]}


def check_sealed(state: Mapping[str, Any]) -> None:
    """Raise InvalidInputError where a state says something else than when it was sealed."""
    _check_version(state)
    try:
        altered = state["checksum"] != sealed(state)["checksum"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the state is damaged: {error!r}") from error
    if altered:
        raise InvalidInputError(
            "the state is damaged or was altered: its checksum is that of other contents; "
            "load one as state_dict() or a batch gave it"
        )


class Progress:
    """Where a stream stands: the only thing about it that changes."""

    def __init__(self) -> None:
        self.epoch = 0
        self.start: State | None = None  # where the next `for` begins, if not at the epoch's start
        self.last: State | None = None  # after the last batch that was delivered


Stints = list[tuple[AnyPlace, tuple[Deal, ...]] | None]
"""Where ranks stood, and how rows had been dealt out to them; None: one was done."""


def resume(
    given: Any,
    fresh: State,
    deal: Callable[[int, Stints], tuple[AnyPlace, tuple[Deal, ...]]],
    in_lockstep: Callable[[State], list[State]] | None = None,
) -> State:
    """The state from which the stream that would begin at `fresh` goes on.

    deal : gives what this rank has of what is left in an epoch.
    in_lockstep : gives the states of all ranks, of one of them.

    Raises InvalidInputError, saying what differs, for the state of another stream.
    """
    dicts = [given] if isinstance(given, Mapping) else given
    if isinstance(dicts, str) or not isinstance(dicts, Sequence) or not dicts:
        raise InvalidInputError(
            f"load_state_dict takes a state, or a list of all ranks' states; got {given!r}"
        )
    states = [_read(one, fresh) for one in dicts]
    for state in states:
        if state.world_size != states[0].world_size:
            raise InvalidInputError(
                "the states are of different world sizes: "
                f"{states[0].world_size} and {state.world_size}"
            )
        if state.settings != states[0].settings:
            raise InvalidInputError(
                f"the states are of batches of {states[0].settings['rows']} and of "
                f"{state.settings['rows']} rows: pass states of the same moment"
            )
    ranks = [state.rank for state in states]
    for rank in ranks:
        if ranks.count(rank) > 1:
            raise InvalidInputError(f"two of the states belong to rank {rank}")
    if in_lockstep and len(states) < states[0].world_size:
        states = _all_of(states, in_lockstep(states[0]))
    for state in states:
        as_before = (state.world_size, state.settings) == (fresh.world_size, fresh.settings)
        if as_before and state.rank == fresh.rank:
            return state
    return _dealt_anew(states, fresh, deal)


def _all_of(given: list[State], states: list[State]) -> list[State]:
    """The states of ranks in lockstep, unless the given ones are not."""
    for state in given:
        there = states[state.rank]
        if (state.epoch, state.deals, state.place) != (there.epoch, there.deals, there.place):
            raise InvalidInputError(
                f"rank {state.rank} has not delivered as many batches as rank {given[0].rank}: "
                "without lockstep=True, pass the states of all ranks"
            )
    return states


def _dealt_anew(
    states: list[State],
    fresh: State,
    deal: Callable[[int, Stints], tuple[AnyPlace, tuple[Deal, ...]]],
) -> State:
    """What is left, dealt out to another number of ranks, or to batches of another size."""
    world_size, settings = states[0].world_size, states[0].settings
    if len(states) < world_size:
        ranks = {state.rank for state in states}
        missing = next(rank for rank in range(world_size) if rank not in ranks)
        ours, theirs = (
            f", in batches of {told['rows']} rows," if settings != fresh.settings else ""
            for told in (fresh.settings, settings)
        )
        raise InvalidInputError(
            f"this is rank {fresh.rank} of {fresh.world_size}{ours or ','} and the states are of "
            f"world_size {world_size}{theirs} without rank {missing}: pass the states of all "
            f"{world_size} ranks, or lockstep=True where all have delivered as many batches"
        )
    first = min(states, key=lambda state: state.epoch)
    stints: Stints = []
    for state in sorted(states, key=lambda state: state.rank):
        done = state.epoch == first.epoch + 1 and state.place == Place() and not state.deals
        if not done and (state.epoch, state.deals) != (first.epoch, first.deals):
            raise InvalidInputError(
                f"rank {first.rank} is in epoch {first.epoch} and rank {state.rank} in epoch "
                f"{state.epoch}, or their rows were distributed differently: pass states of "
                "the same moment"
            )
        stints.append(None if done else (state.place, state.deals))
    if all(stint == (Place(), ()) for stint in stints):
        return fresh._replace(epoch=first.epoch)  # nothing has been delivered
    place, deals = deal(first.epoch, stints)
    return fresh._replace(epoch=first.epoch, place=place, deals=deals)


def _read(given: Any, fresh: State) -> State:
    _check_version(given)
    try:
        _check_same("data set", given["data"], fresh.data)
        settings = _with_rows_of(given["settings"], fresh.settings)
        _check_same("stream", given["settings"], settings)
        check_sealed(given)
        state = State(
            fresh.data,
            settings,
            count(given["epoch"]),
            count(given["rank"]),
            count(given["world_size"]),
            place_of_json(given["place"]),
            deals_of_json(given["deals"]),
            None if given["even"] is None else _even(given["even"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidInputError):
            raise
        raise InvalidInputError(f"the state is damaged: {error!r}") from error
    even = state.even or Even(0, state.rank)
    if max(state.rank, even.lender) >= state.world_size or settled(state.place).repeats > even.due:
        raise InvalidInputError(f"the state is damaged: {given!r}")
    return state


def _check_version(given: Any) -> None:
    if not isinstance(given, Mapping) or "version" not in given:
        raise InvalidInputError(f"this is not the state of a stream: {given!r}")
    if given["version"] != VERSION:
        raise InvalidInputError(
            f"the state is of version {given['version']!r}, and this ragmask reads {VERSION}"
        )


def _with_rows_of(theirs: Any, ours: Mapping[str, Any]) -> Mapping[str, Any]:
    """Our settings, in batches of their size where it changes no item of a window."""
    rows = theirs.get("rows") if isinstance(theirs, Mapping) else None
    are_items = ours.get("tokens") or ours.get("bucket") or ours.get("rows") is None
    if are_items or type(rows) is not int or rows < 1:
        return ours
    return {**ours, "rows": rows}


def _check_same(what: str, theirs: Any, ours: Mapping[str, Any]) -> None:
    if not isinstance(theirs, Mapping):
        raise TypeError(f"{theirs!r} does not name its {what}")
    for name in dict.fromkeys([*ours, *theirs]):
        if theirs.get(name) != ours.get(name):
            remedy = _WHOLE_WINDOWS if what == "stream" and name in _CUTS else ""
            raise InvalidInputError(
                f"the state is of another {what}: its {name} is {theirs.get(name)!r}, "
                f"and here it is {ours.get(name)!r}{remedy}"
            )


def _even(given: Sequence[Any]) -> Even:
    due, lender, begin = given
    return Even(count(due), count(lender), place_of_json(begin))
