"""Which columns of a table hold the texts and the labels: named by the user, or found, which is said aloud; never guessed in doubt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from studygroup.data.texts.source import TextReadOptions, shorten
from studygroup.errors import UserError

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
FEW_ROWS, LABEL_SHARE, TEXT_SHARE = 10, 0.2, 0.5
"""Two columns of other names are told apart by at least so many rows: a label has at most, a text at least so many values per row."""
MAX_SHOWN = 30

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Columns:
    """Columns by name.

    Attributes:
        texts: those that hold the text, in the order in which they are joined (by a space; empty ones are left out).
        label: the one that holds the label.
    """

    texts: tuple[str, ...]
    label: str


def choose(
    names: Sequence[str],
    options: TextReadOptions,
    where: str,
    first: Callable[[], Sequence[Sequence[object]]],
    *,
    hint: str = "",
    typed: Sequence[str] = (),
) -> Columns:
    """The columns that the user named; what was not named is found by its name.

    Usual names (`TEXT_NAMES`, `LABEL_NAMES`) are looked for, and count if there is exactly one. Of two columns the second is what the first
    is not; if neither has a usual name, the label is the one with few values, if that is clear from the first rows. What was found is
    logged as a warning; the columns of the user's choice are not.

    Args:
        names: of all columns, in order.
        options: what the user named.
        where: the table, for messages.
        first: reads some rows, from which two columns can be told apart.
        typed: columns that are known to hold labels; they count instead of those with usual names.
        hint: what else may be wrong where a column is not there, as a further clause.

    Raises:
        UserError: a column is not there, is there twice, or cannot be told from others.
    """
    texts = options.text_columns
    label = options.label_column
    for name in (*texts, *([label] if label is not None else [])):
        if name not in names:
            raise UserError(f"{where} has no column {name!r}; it has {_list(names)}{hint}")
    if label in texts:
        raise UserError(f"the column {label!r} of {where} cannot be both text and label; name another for one of the two")
    if len(set(texts)) < len(texts):
        raise UserError(f"the text columns {_list(texts)} of {where} name one of them twice; name each once")
    found_texts = texts or _candidates(names, TEXT_NAMES, {label})
    found_labels = tuple(name for name in typed if name not in texts) or _candidates(names, LABEL_NAMES, {*texts})
    if label is not None:
        found_labels = (label,)
    if not texts and len(found_texts) > 1:
        raise UserError(
            f"several columns of {where} may hold the texts: {_list(found_texts)}; name one, or several to be joined "
            f"(--text-columns {','.join(found_texts[:2])})"
        )
    if len(found_labels) > 1:
        raise UserError(
            f"several columns of {where} may hold the labels: {_list(found_labels)}; name one (--label-column {found_labels[0]})"
        )
    if len(names) == 2:
        found_texts, found_labels = _of_two(names, found_texts, found_labels, first)
    missing = [
        f"{what} ({flag})"
        for what, flag, found in (("the texts", "--text-columns", found_texts), ("the labels", "--label-column", found_labels))
        if not found
    ]
    if missing:
        raise UserError(f"it is not clear which column of {where} holds {' and '.join(missing)}; name it: there is {_list(names)}{hint}")
    columns = Columns(tuple(found_texts), found_labels[0])
    if twice := [name for name in (*columns.texts, columns.label) if list(names).count(name) > 1]:
        raise UserError(f"{where} has more than one column {twice[0]!r}; rename them")
    if not texts or label is None:
        _say(names, columns, where)
    return columns


def _candidates(names: Sequence[str], known: frozenset[str], taken: set[str | None]) -> tuple[str, ...]:
    return tuple(name for name in names if plain(name) in known and name not in taken)


def plain(name: str) -> str:
    """A column's name as it stands among the usual ones."""
    return name.strip().casefold().replace("-", "_").replace(" ", "_")


def _of_two(
    names: Sequence[str], texts: tuple[str, ...], labels: tuple[str, ...], first: Callable[[], Sequence[Sequence[object]]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which of two columns is which, as far as it can be told."""
    if texts and labels:
        return texts, labels
    if texts:
        return texts, tuple(name for name in names if name not in texts)
    if labels:
        return tuple(name for name in names if name not in labels), labels
    rows = [row for row in first() if len(row) == 2]
    if len(rows) < FEW_ROWS:
        return (), ()
    shares = [len({str(row[i]) for row in rows}) / len(rows) for i in range(2)]
    for label, text in ((0, 1), (1, 0)):
        if shares[label] <= LABEL_SHARE and shares[text] >= TEXT_SHARE:
            return (names[text],), (names[label],)
    return (), ()


def _say(names: Sequence[str], columns: Columns, where: str) -> None:
    unused = [name for name in names if name not in (*columns.texts, columns.label)]
    logger.warning(
        "%s: the column%s %s taken for the text, %s for the label%s; others are chosen by --text-columns and --label-column",
        where,
        "s" if len(columns.texts) > 1 else "",
        f"{_list(columns.texts)} {'are' if len(columns.texts) > 1 else 'is'}",
        _list([columns.label]),
        f" (not used: {_list(unused)})" if unused else "",
    )


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(repr(shorten(name)) for name in names[:MAX_SHOWN]) + more
