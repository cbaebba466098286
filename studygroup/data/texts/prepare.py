"""Texts in the cache: `bytes` (M,) uint8, `ends` (N,) and `labels` (N,); only some thousand rows are in memory at a time.

The texts are stored unchanged, then divided; the vocabulary is trained on the samples to learn from; then all texts are stored as tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studygroup.data.cache.array_file import ArrayFile
from studygroup.data.cache.entries import digest
from studygroup.data.dataset import Split
from studygroup.data.inputs import Inputs, Tokens
from studygroup.data.prepare import ArrayType, Preparation, Prepared
from studygroup.data.source import RawSplit, RawTexts, Row
from studygroup.data.texts.labels import ClassIndex, check_classes, sort_classes
from studygroup.data.texts.store import Texts, chunked
from studygroup.data.texts.tokens import tokenize, trained_tokenizer
from studygroup.data.tokenizer import Tokenizer
from studygroup.errors import UserError
from studygroup.escape import shortened


class TextPreparation(Preparation[RawTexts, Texts]):
    """Preparation of texts."""

    category = "texts"
    noun = "text"
    unit = "percent"

    @cached_property
    def class_index(self) -> ClassIndex:
        """Numbers of the classes; if they are not known in advance, `finish` sorts them once all labels are read."""
        return ClassIndex(self.raw.classes, self.source.name)

    def array_types(self) -> Mapping[str, ArrayType]:
        """See `Preparation`."""
        return {"labels": ((), np.dtype(np.int64)), "bytes": ((), np.dtype(np.uint8)), "ends": ((), np.dtype(np.int64))}

    def chunks(self, split: RawSplit[Row]) -> Iterator[tuple[NDArray[Any], ...]]:
        """See `Preparation`."""
        size = 0
        for chunk in chunked(split.items, lambda row: len(row[0])):
            texts = [text.encode("utf-8", "replace") for text, _ in chunk]
            ends = size + np.cumsum([len(text) for text in texts], dtype=np.int64)
            labels = np.array([self.class_index.number(label) for _, label in chunk], dtype=np.int64)
            yield labels, np.frombuffer(b"".join(texts), dtype=np.uint8), ends
            size = int(ends[-1])

    def finish(self, folder: Path) -> tuple[str, ...]:
        """See `Preparation`."""
        name = self.source.name
        labels = {split: np.load(folder / f"{split}_labels.npy") for split in self.raw.splits}
        if not len(labels["train"]):
            raise UserError(f"{name} has no texts to learn from; give one with texts and labels")
        if self.raw.classes is None:
            check_classes(self.class_index.numbers, sum(map(len, labels.values())), name)
            classes = sort_classes(self.class_index.numbers)
        else:
            classes = self.raw.classes
        order = np.array([classes.index(label) for label in self.class_index.numbers], dtype=np.int64)
        counts = np.bincount(order[labels["train"]], minlength=len(classes))
        empty = [shortened(label) for label, count in zip(classes, counts, strict=True) if not count]
        if empty and self.raw.classes is None:
            raise UserError(
                f"{empty[0]!r} is a label in {name} that no training sample has; correct or remove it, or move some to training"
            )
        if empty and self.raw.unreadable:
            raise UserError(f"no text of class {empty[0]!r} of {name} can be read: {self.raw.unreadable[0]}, …; repair or remove them")
        for split, numbers in labels.items():
            with ArrayFile(folder / f"{split}_labels.npy", (), np.dtype(np.int64)) as file:
                file.append(order[numbers])
        return classes

    def open_split(self, folder: Path, name: str) -> Texts:
        """See `Preparation`."""
        content = np.load(folder / f"{name}_bytes.npy", mmap_mode="r")
        ends, labels = (np.load(folder / f"{name}_{array}.npy") for array in ("ends", "labels"))
        if not (len(ends) == len(labels) and len(content) == (ends[-1] if len(ends) else 0)):
            raise ValueError("arrays of different lengths")
        return Texts(folder / f"{name}_bytes.npy", content.offset, ends, labels)

    def encode(
        self,
        prepared: Prepared[Texts],
        train: NDArray[np.int64],
        division: tuple[int, int] | None,
        tokenizer: str | Tokenizer,
    ) -> tuple[dict[str, Split], Inputs, str]:
        """Train the tokenizer on the samples to learn from if needed, and convert all texts to tokens."""
        if isinstance(tokenizer, str):
            tokenizer = trained_tokenizer(prepared, train, tokenizer, self.cache, vocabulary=self.options.vocabulary)
        length = self.options.max_length or tokenizer.max_length
        tokens = tokenize(prepared, tokenizer, self.cache, length, progress=self.options.progress)
        splits = {name: Split(tokens[name], texts.labels, texts=texts) for name, texts in prepared.splits.items()}
        return (
            splits,
            Tokens(tokenizer, length, self.options.encoding),
            digest(prepared.key, tokenizer.describe(), length, division and ("stratified", *division)),
        )
