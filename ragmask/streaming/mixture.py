"""What a mixture is made of: the sources, their weights, and the columns that all of them have."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, repeat
from math import fsum, inf, isfinite
from typing import Any, ClassVar, Literal, Union

import numpy as np

from ragmask import arrow
from ragmask.arrays.protocol import Ints
from ragmask.batches.show import count
from ragmask.errors import InvalidInputError
from ragmask.streaming.arrange import packed_fields
from ragmask.streaming.batch import Batch, read_batch
from ragmask.streaming.maps import MapFunction, mapped
from ragmask.streaming.plan import DRAWS, Portion
from ragmask.streaming.reader import Reader
from ragmask.streaming.settings import Settings
from ragmask.streaming.source import Source
from ragmask.streaming.steps import Step

Weights = Mapping[str, float] | Callable[[float], Mapping[str, float]]
Until = Literal["first", "all"]
Kind = Literal["rows", "batches"]
AnySource = Union[Source, "Mixture"]


@dataclass(frozen=True)
class Recipe:
    """What a stream is, but for where it stands."""

    source: AnySource
    settings: Settings
    maps: tuple[MapFunction, ...] = ()

    @property
    def rows(self) -> float:
        """Of an epoch, as far as footers tell: before any filter."""
        source = self.source
        return sum(source.group_rows) if isinstance(source, Source) else source.rows

    @property
    def is_endless(self) -> bool:
        within = isinstance(self.source, Mixture) and self.source.is_endless
        return within or (self.settings.epochs is None and self.rows > 0)

    @property
    def is_shuffled(self) -> bool:
        """Whether its rows, or those of a source of its, are in random order."""
        within = isinstance(self.source, Mixture) and self.source.is_shuffled
        return within or self.settings.shuffle is not None

    @property
    def rows_in_all(self) -> float:
        """Of all its epochs."""
        return inf if self.is_endless else self.rows * (self.settings.epochs or 0)

    @cached_property
    def fields(self) -> tuple[dict[str, Any], Any]:
        """The fields of a batch's columns before any map, and their metadata."""
        schema = self.source.schema
        fields = {one.name: one for one in schema}
        if self.settings.packing:
            fields = packed_fields(fields)
        return fields, schema.metadata

    def empty_batch(self) -> Batch:
        """A batch of no rows, before any map."""
        source = self.source
        if isinstance(source, Mixture):
            empty = source.recipes[0].empty_batch()
            if source.kind == "batches":
                return mapped(empty, source.recipes[0].maps)
            columns, row_ids = empty._columns, np.empty(0, np.int64)
        else:
            columns, row_ids = Reader(source).empty()
        arranged = self.settings.arrangement.arrange(columns, row_ids, None)
        return read_batch(dict(arranged.take(0, arranged.items).columns), *self.fields)

    def told(self) -> dict[str, Any]:
        """What must be the same for a state to mean the same, but for the data set."""
        return self.settings.to_dict() | self.source.told()


@dataclass(frozen=True)
class Mixture:
    """Sources in one: a draw decides which of them each row, or batch, comes from.

    Without a name, there is one source, of which `skip` rows or batches are left out, and then
    `take` delivered (None: all). A mixture has names, and may be cut in the same way.
    """

    recipes: tuple[Recipe, ...]
    kind: Kind
    names: tuple[str, ...] = ()
    weights: Weights | None = None
    seed: int = 0
    until: Until = "all"
    skip: int = 0
    take: int | None = None

    portions: ClassVar[tuple[Portion, ...]] = ()  # its sources have theirs
    steps: ClassVar[tuple[Step, ...]] = ()

    # -- what it has in common with files ---------------------------------------------------

    @cached_property
    def schema(self) -> Any:
        return self.recipes[0].source.schema

    @property
    def column_names(self) -> tuple[str, ...]:
        return self.recipes[0].source.column_names

    @property
    def first_schema(self) -> Any:
        return self.recipes[0].source.first_schema

    def first_field(self, name: str) -> Any:
        return self.recipes[0].source.first_field(name)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for recipe in self.recipes for path in recipe.source.paths)

    @property
    def filter(self) -> Any:
        """A filter of a source's, if there is one."""
        filters = (recipe.source.filter for recipe in self.recipes)
        return next((one for one in filters if one is not None), None)

    @property
    def rows(self) -> float:
        """Of an epoch, as far as footers and weights tell."""
        some = [(one.rows_in_all, weight) for one, weight in self._weighed if weight]
        rows = sum(size for size, _ in some)
        if self.until == "first" and some:  # where the first is done, all others have their share
            each = min(size / weight for size, weight in some)
            rows = each * sum(weight for _, weight in some)
        return rows if self.take is None or self.kind == "batches" else min(rows, self.take)

    @property
    def is_endless(self) -> bool:
        endless = [one.is_endless for one, weight in self._weighed if weight]
        return self.take is None and any(endless) and (self.until == "all" or all(endless))

    @property
    def _weighed(self) -> Iterator[tuple[Recipe, float]]:
        """The sources, and their weights; those of a curriculum are taken as equal."""
        weights = repeat(1.0) if self.is_curriculum else self.constant
        return zip(self.recipes, weights, strict=False)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """By the names of the sources: what tells their data sets from others."""
        if not self.names:
            return self.recipes[0].source.fingerprint
        found = (recipe.source.fingerprint for recipe in self.recipes)
        return dict(zip(self.names, found, strict=True))

    @property
    def described(self) -> str:
        text = ", ".join(self.names) if self.names else self.recipes[0].source.described
        if self.names:
            sources = count(len(self.names), "source")
            text = f"{sources} in {self.kind}, until {self.until} is done: {text}"
        if self.skip:
            text += f", but for {self.skip:,} {self.kind}"
        return text if self.take is None else f"{text}, at most {self.take:,} {self.kind}"

    @property
    def is_local(self) -> bool:
        return all(recipe.source.is_local for recipe in self.recipes)

    @property
    def is_shuffled(self) -> bool:
        return any(recipe.is_shuffled for recipe in self.recipes)

    @property
    def filter_text(self) -> str | None:
        """The filters of its sources."""
        texts = [recipe.source.filter_text for recipe in self.recipes]
        named = zip(self.names or ("",), texts, strict=True)
        return ", ".join(f"{name}: {text}" if name else text for name, text in named if text)

    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = {"until": self.until, "mix": self.kind, "mix_seed": self.seed}
        told |= {"skip": self.skip, "take": self.take}
        names = self.names or ("",)
        sources = {
            name: {key: value for key, value in recipe.told().items() if value is not None}
            | {"epochs": recipe.settings.epochs}
            for name, recipe in zip(names, self.recipes, strict=True)
        }
        return told | {"sources": sources}

    def part(self, portion: Portion) -> "Mixture":
        return self.each(lambda source: source.part(portion))

    def as_types(self, types: Mapping[str, Any]) -> "Mixture":
        return self.each(lambda source: source.as_types(types))

    def with_step(self, step: Step) -> "Mixture":
        return self.each(lambda source: source.with_step(step))

    def each(self, change: Callable[[Any], Any]) -> "Mixture":
        """The mixture of changed sources."""
        recipes = (replace(recipe, source=change(recipe.source)) for recipe in self.recipes)
        return replace(self, recipes=tuple(recipes))

    def as_rows(self) -> "Mixture":
        """The rows of its sources, whatever it makes of them, as they would be mixed."""
        recipes = tuple(
            Recipe(
                one.source.as_rows() if isinstance(one.source, Mixture) else one.source,
                Settings(shuffle=one.settings.shuffle, epochs=one.settings.epochs),
            )
            for one in self.recipes
        )
        return replace(self, recipes=recipes, kind="rows", skip=0, take=None)

    # -- what it is to itself ---------------------------------------------------------------

    def cut(self, skip: int, take: int | None) -> "Mixture":
        """The same without its first `skip` rows or batches, and of the others the first `take`."""
        left = self.take
        if left is not None:
            left = max(0, left - skip)
        if take is not None:
            left = take if left is None else min(left, take)
        return replace(self, skip=self.skip + skip, take=left)

    @property
    def is_curriculum(self) -> bool:
        return callable(self.weights)

    def weights_at(self, share: float) -> tuple[float, ...]:
        """The weights of the sources once this share of them is done."""
        if not self.names:
            return (1.0,)
        weights = self.weights(share) if callable(self.weights) else self.weights
        where = f" at a share of {share:.6g}" if self.is_curriculum else ""
        return check_weights(weights, self.names, where)

    @cached_property
    def constant(self) -> tuple[float, ...]:
        """The weights that stay the same."""
        return self.weights_at(0.0)


def check_weights(weights: Any, names: Sequence[str], where: str = "") -> tuple[float, ...]:
    """The weights of sources in their order; they need not sum to 1."""
    if not isinstance(weights, Mapping):
        raise InvalidInputError(
            f'weights{where} are those of sources by name, {{"{names[0]}": 1.0, …}}; '
            f"got {weights!r}"
        )
    unknown = [name for name in weights if name not in names]
    lacking = [name for name in names if name not in weights]
    if unknown or lacking:
        which = f"name {unknown[0]!r}" if unknown else f"lack {lacking[0]!r}"
        raise InvalidInputError(f"weights{where} {which}; the sources are {', '.join(names)}")
    for name, weight in weights.items():
        is_number = isinstance(weight, int | float | np.integer | np.floating)
        if isinstance(weight, bool) or not is_number or not (isfinite(weight) and weight >= 0):
            raise InvalidInputError(
                f"the weight of {name!r}{where} is a number of at least 0; got {weight!r}"
            )
    found = tuple(float(weights[name]) for name in names)
    if not any(found):
        raise InvalidInputError(f"all weights{where} are 0: no row would ever be drawn")
    return found


def bounds(weights: Sequence[float]) -> Ints:
    """Where the draws of each source end, uint64: one without weight has none."""
    largest = max(weights)
    shares = [weight / largest for weight in weights]  # their sum is finite
    total = fsum(shares)
    ends = [min(DRAWS, round(end / total * DRAWS)) for end in accumulate(shares)]
    last = max(at for at, weight in enumerate(weights) if weight)
    ends[last:] = [DRAWS] * (len(ends) - last)
    return np.array(ends, np.uint64)


# -- columns of all sources ---------------------------------------------------------------


def in_one_schema(names: Sequence[str], recipes: Sequence[Recipe]) -> list[Recipe]:
    """The recipes, with columns of the types that hold what all sources have in them."""
    first, schemas = names[0], [recipe.source.schema for recipe in recipes]
    for name, schema in zip(names[1:], schemas[1:], strict=True):
        for mine, theirs, other in ((schemas[0], schema, first), (schema, schemas[0], name)):
            lacking = [one for one in theirs.names if one not in mine.names]
            if lacking:
                has = name if other == first else first
                raise InvalidInputError(
                    f"source {other!r} has no column {lacking[0]!r}, which {has!r} has: read the "
                    "same columns of both, with columns=, or rename() them"
                )
    types = {one.name: one.type for one in schemas[0]}
    for name, schema in zip(names[1:], schemas[1:], strict=True):
        for column, known in types.items():
            type_ = arrow.unified(known, schema.field(column).type)
            if type_ is None:
                raise InvalidInputError(
                    f"column {column!r} is {schema.field(column).type} in source {name!r}, and "
                    f"{known} before: no type holds both without loss"
                )
            types[column] = type_
    made = []
    for recipe, schema in zip(recipes, schemas, strict=True):
        changed = {one.name: types[one.name] for one in schema if one.type != types[one.name]}
        source = recipe.source.as_types(changed) if changed else recipe.source
        made.append(replace(recipe, source=source))
    return made
