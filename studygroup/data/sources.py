"""The sources by name, and the functions that open a data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from studygroup import errors
from studygroup.data.archives import SUFFIXES as ARCHIVES
from studygroup.data.archives import is_archive, suffixes_in
from studygroup.data.class_folders import folders, ignored
from studygroup.data.dataset import HOLDOUT, Dataset
from studygroup.data.images.decode import suffixes as image_suffixes
from studygroup.data.images.npz import SUFFIX as NPZ
from studygroup.data.images.prepare import ImagePreparation
from studygroup.data.prepare import Preparation
from studygroup.data.source import Source
from studygroup.data.texts.folder import SUFFIX
from studygroup.data.texts.prepare import TextPreparation
from studygroup.data.texts.table import SUFFIXES as TABLES
from studygroup.data.texts.table import is_table, options_of_table, table_suffix
from studygroup.data.tokenizer import Tokenizer
from studygroup.errors import UserError
from studygroup.options import DataOptions, TableOptions, keyword_function
from studygroup.parameters import parameters_of
from studygroup.registry import Registry
from studygroup.regular import NOT_REGULAR

SOURCES: Registry[type[Source[Any]]] = Registry(
    "data set",
    {
        "digits": "studygroup.data.images.digits:Digits",
        "mnist": "studygroup.data.images.idx:Mnist",
        "fashion-mnist": "studygroup.data.images.idx:FashionMnist",
        "cifar10": "studygroup.data.images.cifar:Cifar10",
        "cifar100": "studygroup.data.images.cifar:Cifar100",
        "folder": "studygroup.data.images.folder:Folder",
        "arrays": "studygroup.data.images.npz:Npz",
        "imdb": "studygroup.data.texts.imdb:Imdb",
        "yelp_review_full": "studygroup.data.texts.reviews:YelpReviewFull",
        "yahoo_answers": "studygroup.data.texts.reviews:YahooAnswers",
        "amazon_review_full": "studygroup.data.texts.reviews:AmazonReviewFull",
        "hub": "studygroup.data.texts.hub:Hub",
        "table": "studygroup.data.texts.table:Table",
        "texts": "studygroup.data.texts.folder:TextFolder",
    },
    group="studygroup.data",
)
"""Classes of sources by the name of the data set."""

PREPARATIONS: dict[str, type[Preparation[Any, Any]]] = {"images": ImagePreparation, "texts": TextPreparation}
TABLE_OPTIONS = {"table": tuple(parameters_of(TableOptions)), "texts": ("encoding",), "hub": ("text_columns", "label_column")}
"""The options of tables that a source has a place for; a table has fewer in some formats."""
OPTIONS_OF = {"images": ("image_size", "channels"), "texts": (*parameters_of(TableOptions), "max_length", "vocabulary", "tokenizer")}


def open_data(
    options: DataOptions, *, tokenizer: str | Tokenizer | None = None, fewest_classes: int = 2, default_holdout: float = HOLDOUT
) -> Dataset:
    """Open a data set; if it is not prepared yet, it is read once and kept in the cache.

    Args:
        options: which data, and how it is read and divided. Their tokenizer `auto` means `bpe` here.
        tokenizer: tokenizer of texts, or its name, instead of that of the options.
        fewest_classes: number of classes that the data must have; one is enough for an evaluation.
        default_holdout: fraction to hold out if the options leave it open and the data has no hold-out set of its own.

    Raises:
        UserError: the data cannot be used; the message names the problem and the remedy.

    Example:
        >>> from studygroup import data, options
        >>> len(data.open_data(options.DataOptions("digits")).holdout)
        144
    """
    if options.test_size == 1:
        raise UserError("test_size is 1; give a fraction below 1, or a number of samples above 1")
    name, path = parse(options.data)
    kind = SOURCES[name].kind
    for other, names in OPTIONS_OF.items():
        if other != kind and (given := [option for option in names if getattr(options, option) not in (None, (), [], "auto")]):
            raise UserError(f"{given[0]} is given, but {options.data} has {kind}; leave it out")
    if tokenizer is None:
        tokenizer = "bpe" if options.tokenizer == "auto" else options.tokenizer
    source = SOURCES[name](path, options)
    return PREPARATIONS[kind](source, options, fewest_classes=fewest_classes, default_holdout=default_holdout).dataset(tokenizer)


@keyword_function(DataOptions)
def open_dataset(options: DataOptions) -> Dataset:
    """Open a data set with the options of `open_data` as keyword arguments, e.g. `open_dataset("digits", image_size=16)`.

    Nothing is held out of `train` unless `holdout` is given.

    Example:
        >>> from studygroup import data
        >>> digits = data.open_dataset("digits", holdout=100)
        >>> digits.inputs.shape, len(digits.train), len(digits.holdout), len(digits.test)
        ((1, 8, 8), 1338, 100, 359)
    """
    return open_data(options, default_holdout=0.0)


def describe_sources() -> dict[str, str]:
    """Return a line on each data set by name.

    Example:
        >>> from studygroup import data
        >>> data.describe_sources()["digits"]
        '1,797 handwritten digits, 8x8, grey, 10 classes; installed with scikit-learn'
    """
    return {name: source.description for name, source in SOURCES.items()}


def reads_texts(data: str | Path) -> bool:
    """Return whether a data set has texts, without reading it.

    Raises:
        UserError: there is no such data set.

    Example:
        >>> from studygroup import data
        >>> data.reads_texts("imdb"), data.reads_texts("digits")
        (True, False)
    """
    return SOURCES[parse(data)[0]].kind == "texts"


def parse(data: str | Path) -> tuple[str, Path | None]:
    """Convert `NAME`, `NAME:PATH` or `PATH` to the name of a source and a path.

    Raises:
        UserError: it is neither a name nor the path of a folder or a table.
    """
    data = str(data)
    name, colon, location = data.partition(":")
    if name in SOURCES and (location or not SOURCES[name].requires_path):
        if colon and not location:
            raise UserError(f"{data!r} has no path after the colon; give {name} or {name}:PATH")
        return name, Path(location).expanduser() if location else None
    path = Path(data).expanduser()
    if data and path.exists() and is_table(path):
        return "table", path
    if path.suffix.lower() == NPZ and path.is_file():
        return "arrays", path
    if data and path.is_dir():
        return "texts" if is_text_folder(path) else "folder", path
    if is_archive(path):
        return kind_of_archive(path), path
    if path.is_file():
        raise UserError(
            f"{data} is a file, but not named like a table ({', '.join(TABLES)}) or an archive ({', '.join(ARCHIVES)}); rename it, or give "
            "a folder with one sub-folder of images or texts per class"
        )
    if data and path.exists():
        raise UserError(f"{data} is {NOT_REGULAR}, nor a folder; give a folder of images or texts, or a table")
    if name in SOURCES:
        raise UserError(f"{name} needs a path: it is {SOURCES[name].description}")
    if os.sep in name or data.startswith((".", "~")) or table_suffix(path) is not None:
        raise UserError(f"{data} does not exist; give a folder of images or texts, a table, or one of {', '.join(sorted(SOURCES))}")
    raise UserError(f"{errors.unknown_name('data set', name, SOURCES)} There is no folder or table {data!r} either")


def table_options(data: str | Path) -> frozenset[str]:
    """Return the names of the `TableOptions` that a data set has a place for.

    Raises:
        UserError: there is no such data set.

    Example:
        >>> from studygroup import data
        >>> sorted(data.table_options("hub:stanfordnlp/imdb"))
        ['label_column', 'text_columns']
    """
    name, path = parse(data)
    if name == "table" and path is not None and path.exists():
        return options_of_table(path)
    return frozenset(TABLE_OPTIONS.get(name, ()))


def kind_of_archive(path: Path) -> str:
    """Return the source for an archive: `folder` if there are images in its folders, `texts` if there are texts and no images.

    Raises:
        UserError: it cannot be read, or has neither.
    """
    found = suffixes_in(path)
    if found & image_suffixes():
        return "folder"
    if SUFFIX in found:
        return "texts"
    raise UserError(
        f"{path} has no images and no texts ({SUFFIX}) in folders; give one with a folder per class, unpack it if tables are in it, or "
        f"name the data set if it is published (cifar10:{path})"
    )


def is_text_folder(path: Path) -> bool:
    """Return whether a folder has `.txt` files in sub-folders, and no images; the search stops at the first image."""
    if not path.is_dir():
        return False
    texts = False
    for name in folders(path):
        for _, inner, files in os.walk(path / name):
            inner[:] = [folder for folder in inner if not ignored(folder)]
            suffixes = {os.path.splitext(file)[1].lower() for file in files if not ignored(file)}
            if suffixes & image_suffixes():
                return False
            texts = texts or SUFFIX in suffixes
    return texts
