"""The three largest sets of Zhang, Zhao and LeCun (NIPS 2015): Yelp's and Amazon's reviews by stars, Yahoo's questions by topic.

A published archive is a gzipped tar of a folder with `train.csv` and `test.csv`: a row per text without a header, all fields in quotes,
quotes in them doubled, line breaks written as a backslash and an n (and made line breaks here). The first field is the label, from 1; the
others are the text, one or several, joined by a space: a review; its title and text; a question's title, its content, and the best answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from studygroup.data.cache.archive import locate, members
from studygroup.data.cache.fingerprint import fingerprints
from studygroup.data.texts.files import BrokenRows, Meter, csv_rows, decoded_lines, file_lines, file_size, is_utf8, reading, undecodable
from studygroup.data.texts.records import joined_text
from studygroup.data.texts.source import RawTexts, RawTextSplit, Row, TextReadOptions, no_columns, no_encoding, shorten
from studygroup.errors import UserError

HOME = "http://goo.gl/JyCnZq"
COPIES = "https://s3.amazonaws.com/fast-ai-nlp/"
FILES = {"train": "train.csv", "test": "test.csv"}


@dataclass(frozen=True)
class ReviewSet:
    """What is published of one data set: the folder in its archive, which is called like it, its classes, and the fields of a text."""

    folder: str
    classes: tuple[str, ...]
    fields: int

    @property
    def archive(self) -> str:
        """The archive's name."""
        return f"{self.folder}.tgz"


STARS = tuple("12345")
REVIEW_SETS = {
    "yelp_review_full": ReviewSet("yelp_review_full_csv", STARS, 1),
    "amazon_review_full": ReviewSet("amazon_review_full_csv", STARS, 2),
    "yahoo_answers": ReviewSet(
        "yahoo_answers_csv",
        (
            "Society & Culture",
            "Science & Mathematics",
            "Health",
            "Education & Reference",
            "Computers & Internet",
            "Sports",
            "Business & Finance",
            "Entertainment & Music",
            "Family & Relationships",
            "Politics & Government",
        ),
        3,
    ),
}


class Reviews:
    """One of the sets: its archive, or a folder with the archive or with its unpacked folder."""

    def __init__(self, name: str, options: TextReadOptions) -> None:
        self.name, self.known, self.options = name, REVIEW_SETS[name], options
        no_columns(options, name)
        no_encoding(options, name)
        if options.path is None:
            why = "cannot be fetched: there is no lasting address" if options.download else "is not there"
            raise UserError(
                f"{name} {why}; get {self.known.archive} from {HOME} (Xiang Zhang's Google Drive) or "
                f"{COPIES}{self.known.archive}, and give it as {name}:PATH"
            )
        self.place = locate(options.path, self.known.archive, self.known.folder, tuple(FILES.values()))

    def key(self) -> str:
        """See `TextSource`."""
        folder, names = (self.place.parent, [self.place.name]) if self.place.is_file() else (self.place, list(FILES.values()))
        found = fingerprints(folder, names, self.options.cache, purpose=self.name, progress=False)
        return hashlib.blake2b("\n".join([self.name, *(digest for digest, _ in found)]).encode(), digest_size=16).hexdigest()

    def read(self) -> RawTexts:
        """See `TextSource`."""
        broken = BrokenRows(self.options.on_error, self.name)
        parts = {}
        for split, name in FILES.items():
            meter = Meter()
            if self.place.is_file():
                rows = self._archived(name, broken, meter)
                size = file_size(self.place)
            else:
                path = self.place / name
                rows = self._rows(file_lines(path, "utf-8", meter), name, broken)
                size = file_size(path)
            parts[split] = RawTextSplit(rows, size, meter.done)
        return RawTexts(self.known.classes, parts, broken.names)

    def _archived(self, name: str, broken: BrokenRows, meter: Meter) -> Iterator[Row]:
        """The rows of a file in the archive."""
        wanted = PurePosixPath(self.known.folder) / name
        found = False
        with reading(self.place):
            for _, file, _ in members(self.place, lambda member: member == wanted, meter):
                found = True
                yield from self._rows(decoded_lines(file, "utf-8", str(wanted)), name, broken)
        if not found:
            raise UserError(f"{self.place} has no {wanted}; give the published {self.known.archive}")

    def _rows(self, lines: Iterator[str], name: str, broken: BrokenRows) -> Iterator[Row]:
        """The texts and labels in some lines."""
        classes = {str(number): label for number, label in enumerate(self.known.classes, 1)}
        for number, (line, fields, problem) in enumerate(csv_rows(lines, ","), 1):
            if not problem and len(fields) != 1 + self.known.fields:
                problem = f"{len(fields)} field{'s' if len(fields) > 1 else ''} instead of {1 + self.known.fields}"
            elif not problem and fields[0].strip() not in classes:
                problem = f"the label {shorten(fields[0])!r} is not from 1 to {len(classes)}"
            elif not all(map(is_utf8, fields)):
                problem = undecodable("utf-8")
            if problem:
                broken.add(f"row {number} of {name} (line {line}: {problem})", number)
            else:
                label, *texts = fields
                yield joined_text(text.replace("\\n", "\n") for text in texts), classes[label.strip()]
