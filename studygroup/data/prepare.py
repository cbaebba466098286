"""From a source to a data set: read once into memory-mapped arrays in the cache, then divided into training, hold-out and test set.

<cache>/<category>/<name>-<key>/     train_<array>.npy ...  (train_names.jsonl)  (the same for val and test)  meta.json
"""

from __future__ import annotations

import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from studygroup.data.cache.array_file import ArrayFile
from studygroup.data.cache.disk import check_room
from studygroup.data.cache.entries import cache_dir, cached, check_skipped, digest, names_file, open_splits, unreadable_error, write_meta
from studygroup.data.dataset import HOLDOUT, Dataset, Split, divide, hold_out
from studygroup.data.inputs import Inputs
from studygroup.data.progress import Unit, progress_bar
from studygroup.data.source import RawSplit, RawT, Source, cache_folder
from studygroup.data.texts.labels import odd_names
from studygroup.data.tokenizer import Tokenizer
from studygroup.errors import UserError
from studygroup.options import DataOptions


class Stored(Protocol):
    """The samples of one split in the cache."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Their labels (N,)."""

    def __len__(self) -> int:
        """Return their number N."""


StoredT = TypeVar("StoredT", bound=Stored)
logger = logging.getLogger(__name__)
ArrayType = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape of one row, and dtype."""


@dataclass(frozen=True)
class Prepared(Generic[StoredT]):
    """The samples of a source as they are in the cache.

    Attributes:
        name: name of the source.
        classes: names, in the order of the labels.
        splits: `train`, perhaps `val`, perhaps `test`.
        unreadable: names of the samples that were skipped.
        key: hash of the source's content and of the options.
        names: by split, the file with the names of its samples, if the source has such.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, StoredT]
    unreadable: tuple[str, ...]
    key: str
    names: dict[str, Path] = field(default_factory=dict)


class Preparation(ABC, Generic[RawT, StoredT]):
    """Preparation of one source; subclasses add what is particular to images or texts.

    Attributes:
        category: sub-folder of the cache.
        version: incremented when other arrays are prepared from the same source.
        noun: word for a sample in messages.
        unit: unit of `RawSplit.size`.
    """

    category: ClassVar[str]
    version: ClassVar[int] = 1
    noun: ClassVar[str]
    unit: ClassVar[Unit]

    def __init__(self, source: Source[RawT], options: DataOptions, *, fewest_classes: int = 2, default_holdout: float = HOLDOUT) -> None:
        self.source = source
        self.options = options
        self.fewest_classes = fewest_classes
        self.default_holdout = default_holdout
        self.cache = cache_folder(options.cache)

    # ---------------------------------------------------------------- what subclasses add

    def key_options(self) -> tuple[object, ...]:
        """Return the options that the arrays depend on beside the source's key."""
        return ()

    @abstractmethod
    def array_types(self) -> Mapping[str, ArrayType]:
        """Return the arrays of a split by name, `labels` first."""

    @abstractmethod
    def chunks(self, split: RawSplit[Any]) -> Iterator[tuple[NDArray[Any], ...]]:
        """Yield rows for each array, in the order of `array_types`."""

    @abstractmethod
    def finish(self, folder: Path) -> tuple[str, ...]:
        """Check the labels once all are written, renumber them if needed, and return the names of the classes.

        Raises:
            UserError: they cannot be learned from.
        """

    @abstractmethod
    def open_split(self, folder: Path, name: str) -> StoredT:
        """Open the arrays of a split.

        Raises:
            OSError, ValueError, EOFError: they are missing or damaged.
        """

    @abstractmethod
    def encode(
        self,
        prepared: Prepared[StoredT],
        train: NDArray[np.int64],
        division: tuple[int, int] | None,
        tokenizer: str | Tokenizer,
    ) -> tuple[dict[str, Split], Inputs, str]:
        """Return the samples by split, the kind of network inputs that they become, and the key of the data set.

        Args:
            prepared: the samples.
            train: (n,) positions of the samples to learn from in the split `train`.
            division: size of the test set and seed of the split, if the test set is a part of the split `train`.
            tokenizer: tokenizer of texts, or its name.
        """

    # ---------------------------------------------------------------- the same for all

    @cached_property
    def raw(self) -> RawT:
        """The content of the source, which is read once."""
        return self.source.read()

    def dataset(self, tokenizer: str | Tokenizer) -> Dataset:
        """Prepare the source and divide it into training, hold-out and test set.

        Raises:
            UserError: the source cannot be used, or cannot be divided so.
        """
        prepared, options, name = self.prepare(), self.options, self.source.name
        for line in odd_names(prepared.classes, name):
            logger.warning(line)
        labels = prepared.splits["train"].labels
        pool, test, division = np.arange(len(labels)), None, None
        if "test" not in prepared.splits:
            pool, test = divide(labels, options.test_size, options.split_seed)
            division = len(test), options.split_seed
        holdout = self.default_holdout if options.holdout is None else options.holdout
        own_holdout = "val" in prepared.splits
        if own_holdout and options.holdout:
            raise UserError(f"holdout is {holdout:g}, but {name} has a hold-out set of its own (val); leave holdout out to use that one")
        seed = options.split_seed if options.holdout_seed is None else options.holdout_seed
        parts = hold_out(labels[pool], holdout=0 if own_holdout else holdout, train_size=options.train_size, seed=seed)
        train, held_out, unused = (pool[part] for part in parts)
        splits, inputs, key = self.encode(prepared, train, division, tokenizer)
        own = {split: replace(content, names=prepared.names.get(split)) for split, content in splits.items()}
        return Dataset(
            name=name,
            classes=prepared.classes,
            train=own["train"].take(train),
            holdout=own["val"] if own_holdout and options.holdout is None else own["train"].take(held_out),
            unused=own["train"].take(unused),
            test=own["test"] if test is None else own["train"].take(test),
            own=frozenset(own),
            inputs=inputs,
            flips=self.source.flips,
            key=key,
            original_sizes=self.source.original_sizes(),
        )

    def prepare(self) -> Prepared[StoredT]:
        """Open the prepared arrays, and prepare them first if they are missing or damaged.

        Raises:
            UserError: the source cannot be read, its labels are not classes or too few, or the cache is full or cannot be written.
        """
        key = digest(self.version, self.source.key(), *self.key_options())
        folder = cache_dir(self.cache, self.category, self.source.name, key)
        prepared = cached(folder, self.cache, partial(self._open, folder, key), self._write)
        self._check_classes(prepared.classes)
        check_skipped(prepared.unreadable, self.noun, self.source.name, self.options.on_error, folder)
        return prepared

    def _open(self, folder: Path, key: str) -> Prepared[StoredT] | None:
        """Open the arrays in a folder; return None if it is missing or damaged."""
        if (found := open_splits(folder, self.open_split)) is None:
            return None
        meta, splits = found
        if "named" not in meta:  # prepared by an earlier version, without names
            return None
        names = {split: names_file(folder, split) for split in meta["named"]}
        if not all(path.is_file() for path in names.values()):
            return None
        return Prepared(self.source.name, tuple(meta["classes"]), splits, tuple(meta["broken"]), key, names)

    def _check_classes(self, classes: Sequence[str]) -> None:
        if len(classes) < self.fewest_classes:
            single = f"the single class {classes[0]!r}" if classes else "no class"
            raise UserError(f"{self.source.name} has {single}; at least two are needed")

    def _write(self, folder: Path) -> None:
        name, types = self.source.name, self.array_types()
        if self.raw.classes is not None:
            self._check_classes(self.raw.classes)
        total = sum(split.size for split in self.raw.splits.values())
        if self.unit == "samples":  # else the size of the arrays is not known before
            row_bytes = sum(math.prod(shape) * dtype.itemsize for shape, dtype in types.values())
            check_room(folder.parent, total * row_bytes + (1 << 16), f"to prepare {name}")
        rows = {}
        with progress_bar(f"Preparing {name}", total, self.unit, show=self.options.progress) as advance:
            for split_name, split in self.raw.splits.items():
                with ExitStack() as stack:
                    files = [stack.enter_context(ArrayFile(folder / f"{split_name}_{array}.npy", *types[array])) for array in types]
                    names = None if split.names is None else stack.enter_context(names_file(folder, split_name).open("w", encoding="utf-8"))
                    done = 0
                    for arrays in self.chunks(split):
                        for file, array in zip(files, arrays, strict=True):
                            file.append(array)
                        if names is not None and split.names is not None:
                            names.writelines(json.dumps(sample) + "\n" for sample in split.names)
                            split.names.clear()
                        now = files[0].rows if split.meter is None else split.meter.count
                        advance(now - done)
                        done = now
                rows[split_name] = files[0].rows
        if self.raw.unreadable and self.options.on_error == "stop":
            raise unreadable_error(self.raw.unreadable, self.noun, name)
        classes = self.finish(folder)
        self._check_classes(classes)
        named = [split for split, content in self.raw.splits.items() if content.names is not None]
        write_meta(folder, {"name": name, "classes": classes, "rows": rows, "broken": self.raw.unreadable, "named": named})
