"""From what the user types to a prepared data set."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from studygroup import errors
from studygroup.data.dataset import Dataset, divide
from studygroup.data.images.cifar import Cifar
from studygroup.data.images.digits import Digits
from studygroup.data.images.folder import Folder
from studygroup.data.images.idx import Idx
from studygroup.data.images.store import prepare
from studygroup.data.inputs import Images
from studygroup.data.source import OnError, ReadOptions, Source
from studygroup.data.texts.prepare import open_texts
from studygroup.data.texts.source import TextReadOptions
from studygroup.data.texts.sources import TEXT_SOURCES, is_table, is_text_folder
from studygroup.data.texts.table import suffix_of
from studygroup.data.texts.tokenizers import VOCABULARY, Tokenizer
from studygroup.errors import UserError
from studygroup.options import DataOptions

SOURCES: dict[str, str] = {
    "digits": "1,797 handwritten digits, 8x8, grey, 10 classes; comes with scikit-learn, no download",
    "mnist": "70,000 handwritten digits, 28x28, grey, 10 classes; idx files from a folder, or --download",
    "fashion-mnist": "70,000 pieces of clothing, 28x28, grey, 10 classes; idx files from a folder or Debian's package, or --download",
    "cifar10": "60,000 photos, 32x32, colour, 10 classes; the published python archive, or --download",
    "cifar100": "60,000 photos, 32x32, colour, 100 classes; the published python archive, or --download",
    "folder": "any folder of images with one sub-folder per class, or with train/ and test/ that have them: give its path",
    **TEXT_SOURCES,
}
"""The data sets by name, with a line on each."""

BY_PATH = ("folder", "table", "texts")  # what has no name of its own
MAX_SIZE = 4096


def open_dataset(
    data: str | Path,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    text_columns: Sequence[str] = (),
    label_column: str | None = None,
    encoding: str | None = None,
    tokenizer: str | Tokenizer = "bpe",
    vocabulary: int = VOCABULARY,
    max_length: int | None = None,
    test_size: float = 0.2,
    split_seed: int = 0,
    on_error: OnError = "stop",
    download: bool = False,
    cache: str | Path | None = None,
    progress: bool = True,
) -> Dataset:
    """Open a data set; what is not prepared yet is read once and kept in the cache.

    Args:
        data: a name of `SOURCES`, perhaps with where it lies (`cifar10:/path/to/archive`), the path of a folder of images or of texts
            with one sub-folder per class (a folder that is called like a data set is `./NAME`), or that of a table of texts.
        image_size: height and width to resize images to; for folders 32 unless given, else the data's own.
        channels: 1 for grey, 3 for colour; the data's own by default: a folder is grey if all of its images are.
        text_columns: of a table, the columns with the text; by default found by their names.
        label_column: of a table, the column with the class; likewise.
        encoding: of files of texts; UTF-8 unless they begin with another mark.
        tokenizer: of texts: `bpe`, `bpe-lower`, `chars`, `hf:FOLDER`, or one that is there.
        vocabulary: number of tokens of `bpe`, at most.
        max_length: tokens that a text is cut to; None for the tokenizer's own number.
        test_size: share, in [0, 1), or number (above 1) of the samples kept for the test if the data has no test set of its own;
            with 0 the test split of such data is empty.
        split_seed: of the division into training and test set.
        on_error: what an unreadable image, or row of a table, does: `stop`, or `skip` (named in a warning of the log).
        download: fetch the data set from its publisher if it is not there.
        cache: where prepared data and downloads are kept; by default `$STUDYGROUP_CACHE` or `~/.cache/studygroup`.
        progress: show progress bars.

    Raises:
        UserError: the data cannot be used; the message names what is wrong and the remedy.
    """
    if image_size is not None and not 1 <= image_size <= MAX_SIZE:
        raise UserError(f"image_size is {image_size}; give a whole number from 1 to {MAX_SIZE}")
    if channels not in (None, 1, 3):
        raise UserError(f"channels is {channels}; give 1 for grey or 3 for colour")
    if on_error not in ("stop", "skip"):
        raise UserError(f"on_error is {on_error!r}; it must be stop or skip")
    if not test_size >= 0 or test_size == 1:
        raise UserError(f"test_size is {test_size:g}; give a share in [0, 1), or a number of samples above 1")
    name, path = parse(str(data))
    of_images = {"image_size": image_size, "channels": channels}
    of_texts = {"text_columns": text_columns, "label_column": label_column, "encoding": encoding, "max_length": max_length}
    texts = name in TEXT_SOURCES
    if strange := [word for word, value in (of_images if texts else of_texts).items() if value]:
        raise UserError(f"{strange[0]} is given, but {data} has {'texts' if texts else 'images'}; leave it out")
    if texts:
        return open_texts(
            name,
            TextReadOptions(path, tuple(text_columns), label_column, encoding, on_error, download, cache_folder(cache), progress),
            tokenizer=tokenizer,
            vocabulary=vocabulary,
            max_length=max_length,
            test_size=test_size,
            split_seed=split_seed,
        )
    options = ReadOptions(path, image_size, channels, on_error, download, cache_folder(cache), progress)
    source = find(name, options)
    prepared = prepare(source, options.cache, image_size=image_size, channels=channels, on_error=on_error, progress=progress)
    train, moments, key = prepared.splits["train"], prepared.moments["train"], prepared.key
    if "test" in prepared.splits:
        test = prepared.splits["test"]
    else:
        learned, tested = divide(len(train), test_size, split_seed)
        train, test, moments = train.take(learned), train.take(tested), moments[learned]
        key = hashlib.blake2b(f"{key} {len(tested)} {split_seed}".encode(), digest_size=16).hexdigest()
    channel_count, height, width = train.inputs.shape[1:]
    mean, std = statistics(moments, height * width)
    return Dataset(source.name, prepared.classes, train, test, Images((channel_count, height, width), mean, std), source.augment, key)


def cache_folder(cache: str | Path | None) -> Path:
    """The folder for prepared data and downloads."""
    return Path(cache or os.environ.get("STUDYGROUP_CACHE") or "~/.cache/studygroup").expanduser().absolute()


def reads_texts(data: str | Path) -> bool:
    """Whether a data set is of texts; it is not read for that.

    Raises:
        UserError: there is no such data set.
    """
    return parse(str(data))[0] in TEXT_SOURCES


def parse(data: str) -> tuple[str, Path | None]:
    """`NAME`, `NAME:PATH` or `PATH` -> the name of a data set, and where it lies.

    Raises:
        UserError: it is neither a name nor the path of a folder or a table.
    """
    name, colon, place = data.partition(":")
    if name in SOURCES and (place or name not in BY_PATH):
        if colon and not place:
            raise UserError(f"{data!r} names no place after the colon; give {name} or {name}:PATH")
        return name, Path(place).expanduser() if place else None
    path = Path(data).expanduser()
    if data and path.exists() and is_table(path):
        return "table", path
    if data and path.is_dir():
        return "texts" if is_text_folder(path) else "folder", path
    if path.is_file():
        raise UserError(
            f"{data} is a file, and none of a table's kind; give a folder with one sub-folder of images or texts per class, "
            f"a table (table:{data} if it is one), or cifar10:{data} for an archive"
        )
    if name in BY_PATH:
        raise UserError(f"{name} stands for {SOURCES[name]}")
    if os.sep in name or data.startswith((".", "~")) or suffix_of(path) is not None:
        raise UserError(f"{data} does not exist; give a folder of images or texts, a table, or one of {', '.join(sorted(SOURCES))}")
    raise UserError(f"{errors.unknown_name('data set', name, SOURCES)} There is no folder or table {data!r} either")


def find(name: str, options: ReadOptions) -> Source:
    """The source of this name, at the place that was asked for."""
    if name == "digits":
        return Digits(options)
    if name in ("mnist", "fashion-mnist"):
        return Idx(name, options)
    if name in ("cifar10", "cifar100"):
        return Cifar(name, options)
    return Folder(options)


def statistics(moments: NDArray[np.int64], pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of pixels scaled to [0, 1], from exact sums.

    Args:
        moments: (N, 2, C) each image's sums of pixel values and of their squares.
        pixels: height x width.

    Returns:
        C means and C standard deviations; 1 in place of a deviation of 0.
    """
    n = len(moments) * pixels
    totals = [(int(sums), int(squares)) for sums, squares in moments.sum(axis=0).T]
    mean = tuple(sums / n / 255 for sums, _ in totals)
    std = tuple(math.sqrt(n * squares - sums * sums) / n / 255 or 1.0 for sums, squares in totals)
    return mean, std


def open_data(options: DataOptions, *, tokenizer: str | Tokenizer | None = None) -> Dataset:
    """SHIM."""
    names = ("image_size", "channels", "text_columns", "label_column", "encoding", "vocabulary", "max_length")
    names += ("test_size", "split_seed", "on_error", "download", "cache", "progress")  # type: ignore[assignment]
    return open_dataset(options.data, tokenizer=tokenizer or options.tokenizer, **{n: getattr(options, n) for n in names})
