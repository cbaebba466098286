"""The columns of a table that hold the texts and the labels: given, or found by name and logged; ambiguity is an error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from studygroup.errors import UserError
from studygroup.escape import shortened
from studygroup.options import DataOptions

# fmt: off
TEXT_NAMES = frozenset([
    "text", "texts", "review", "reviews", "review_text", "review_body", "reviewtext", "sentence", "sentences", "content",
    "contents", "body", "comment", "comments", "comment_text", "document", "doc", "tweet", "message", "post", "article",
    "passage", "paragraph", "utterance", "query", "question", "title", "headline", "subject", "description", "summary",
    "abstract",
])
LABEL_NAMES = frozenset([
    "label", "labels", "class", "classes", "class_name", "category", "categories", "target", "targets", "sentiment", "polarity",
    "star", "stars", "rating", "ratings", "score", "scores", "topic", "topics", "intent", "emotion",
])
# fmt: on
MIN_ROWS, MAX_LABEL_SHARE, MIN_TEXT_SHARE = 10, 0.2, 0.5
"""Columns with unknown names are told apart from at least so many rows, by the share of distinct values: at most so many of a label,
at least so many of a text."""
MAX_SHOWN = 30

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Columns:
    """Columns by name.

    Attributes:
        texts: columns with the text, in the order in which they are joined (by a space; empty ones are omitted).
        label: column with the label.
    """

    texts: tuple[str, ...]
    label: str


def choose_columns(
    names: Sequence[str],
    options: DataOptions,
    source: str,
    first_rows: Callable[[], Sequence[Sequence[object]]],
    *,
    hint: str = "",
    label_columns: Sequence[str] = (),
) -> Columns:
    """Return the columns that the options name; find the others by their names.

    A column with a usual name (`TEXT_NAMES`, `LABEL_NAMES`) is taken if there is exactly one. Of two columns, if one is known, so is the
    other; if none has a usual name, the label is the one with few distinct values in the first rows, if that is clear. Columns that are
    found are logged as a warning.

    Args:
        names: names of all columns, in order.
        options: `text_columns` and `label_column`.
        source: name of the table, for messages.
        first_rows: returns some rows, from which two columns can be told apart.
        hint: another possible cause of a missing column, as a further clause of the message.
        label_columns: columns that are known to hold labels; they take precedence over usual names.

    Raises:
        UserError: a column is missing, occurs twice, or is ambiguous.
    """
    texts, label = tuple(options.text_columns), options.label_column
    for name in (*texts, *([label] if label is not None else [])):
        if name not in names:
            raise UserError(f"{source} has no column {name!r}; it has {_list(names)}{hint}")
    if label in texts:
        raise UserError(f"the column {label!r} of {source} cannot be both text and label; name another for one of the two")
    if len(set(texts)) < len(texts):
        raise UserError(f"the text columns {_list(texts)} of {source} name one of them twice; name each once")
    found_texts = texts or _with_usual_names(names, TEXT_NAMES, {label})
    found_labels = tuple(name for name in label_columns if name not in texts) or _with_usual_names(names, LABEL_NAMES, {*texts})
    if label is not None:
        found_labels = (label,)
    if not texts and len(found_texts) > 1:
        raise UserError(
            f"several columns of {source} may hold the texts: {_list(found_texts)}; name one, or several to be joined "
            f"(--text-columns {','.join(found_texts[:2])})"
        )
    if len(found_labels) > 1:
        raise UserError(
            f"several columns of {source} may hold the labels: {_list(found_labels)}; name one (--label-column {found_labels[0]})"
        )
    if len(names) == 2:
        found_texts, found_labels = _tell_apart(names, found_texts, found_labels, first_rows)
    missing = [
        f"{content} ({flag})"
        for content, flag, found in (("the texts", "--text-columns", found_texts), ("the labels", "--label-column", found_labels))
        if not found
    ]
    if missing:
        raise UserError(f"it is not clear which column of {source} holds {' and '.join(missing)}; name it: there is {_list(names)}{hint}")
    columns = Columns(tuple(found_texts), found_labels[0])
    if repeated := [name for name in (*columns.texts, columns.label) if list(names).count(name) > 1]:
        raise UserError(f"{source} has more than one column {repeated[0]!r}; rename them")
    if not texts or label is None:
        _log_found(names, columns, source)
    return columns


@dataclass(frozen=True)
class ColumnsToPredict:
    """Columns by name.

    Attributes:
        texts: columns with the text, as in `Columns`.
        label: column with the label; None if there is none.
    """

    texts: tuple[str, ...]
    label: str | None


def choose_columns_to_predict(
    names: Sequence[str], options: DataOptions, source: str, first_rows: Callable[[], Sequence[Sequence[object]]], *, hint: str = ""
) -> ColumnsToPredict:
    """Return the columns of a table that need not have labels; arguments and choice as in `choose_columns`.

    A single column holds the texts. Of columns that may hold labels, none does if several may.

    Raises:
        UserError: a given column is missing, or it is not clear which column holds the texts.
    """
    known_texts = tuple(options.text_columns) or _with_usual_names(names, TEXT_NAMES, {options.label_column})
    if options.label_column is not None or (len(names) == 2 and not known_texts):
        columns = choose_columns(names, options, source, first_rows, hint=hint)
        return ColumnsToPredict(columns.texts, columns.label)
    texts = known_texts or (tuple(names) if len(names) == 1 else ())
    labels = _with_usual_names(names, LABEL_NAMES, {*texts})
    if missing := [name for name in texts if name not in names]:
        raise UserError(f"{source} has no column {missing[0]!r}; it has {_list(names)}{hint}")
    if repeated := [name for name in texts if names.count(name) > 1 or texts.count(name) > 1]:
        raise UserError(f"{source} has, or is given, the column {repeated[0]!r} more than once; rename them, or name each once")
    if len(texts) > 1 and not options.text_columns:
        raise UserError(
            f"several columns of {source} may hold the texts: {_list(texts)}; name one, or several to be joined "
            f"(--text-columns {','.join(texts[:2])})"
        )
    if not texts:
        raise UserError(
            f"it is not clear which column of {source} holds the texts (--text-columns); name it: there is {_list(names)}{hint}"
        )
    return ColumnsToPredict(texts, labels[0] if len(labels) == 1 else None)


def refuse_columns(options: DataOptions, source: str) -> None:
    """Raise UserError if columns, or what separates them, are given for a source that has none."""
    refuse_delimiter(options, source)
    if options.text_columns or options.label_column is not None:
        flag = "--text-columns" if options.text_columns else "--label-column"
        raise UserError(f"{source} has no columns to choose from; leave out {flag}")


def refuse_delimiter(options: DataOptions, source: str) -> None:
    """Raise UserError if a delimiter is given for a source that is no CSV or TSV file."""
    if options.delimiter is not None:
        raise UserError(f"{source} is no CSV or TSV file; leave out --delimiter {options.delimiter}")


def refuse_encoding(options: DataOptions, source: str) -> None:
    """Raise UserError if an encoding is given for a source whose format defines it."""
    if options.encoding is not None:
        raise UserError(f"{source} has an encoding of its own; leave out --encoding {options.encoding}")


def _with_usual_names(names: Sequence[str], usual: frozenset[str], taken: set[str | None]) -> tuple[str, ...]:
    return tuple(name for name in names if normalise(name) in usual and name not in taken)


def normalise(name: str) -> str:
    """Convert a column's name to the spelling of `TEXT_NAMES` and `LABEL_NAMES`."""
    return name.strip().casefold().replace("-", "_").replace(" ", "_")


def _tell_apart(
    names: Sequence[str], texts: tuple[str, ...], labels: tuple[str, ...], first_rows: Callable[[], Sequence[Sequence[object]]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the text and the label of two columns, or nothing where that is not clear."""
    if texts and labels:
        return texts, labels
    if texts:
        return texts, tuple(name for name in names if name not in texts)
    if labels:
        return tuple(name for name in names if name not in labels), labels
    rows = [row for row in first_rows() if len(row) == 2]
    if len(rows) < MIN_ROWS:
        return (), ()
    shares = [len({str(row[i]) for row in rows}) / len(rows) for i in range(2)]
    for label, text in ((0, 1), (1, 0)):
        if shares[label] <= MAX_LABEL_SHARE and shares[text] >= MIN_TEXT_SHARE:
            return (names[text],), (names[label],)
    return (), ()


def _log_found(names: Sequence[str], columns: Columns, source: str) -> None:
    unused = [name for name in names if name not in (*columns.texts, columns.label)]
    several = len(columns.texts) > 1
    logger.warning(
        "%s: the column%s %s %s taken for the text, %s for the label%s; choose others by --text-columns and --label-column",
        source,
        "s" if several else "",
        _list(columns.texts),
        "are" if several else "is",
        _list([columns.label]),
        f" (not used: {_list(unused)})" if unused else "",
    )


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(repr(shortened(name)) for name in names[:MAX_SHOWN]) + more
