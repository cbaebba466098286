"""The three largest sets of Zhang, Zhao and LeCun (NIPS 2015): Yelp's and Amazon's reviews by stars, Yahoo's questions by topic.

A published archive is a gzipped tar of a folder with `train.csv` and `test.csv`: a row per text without a header, all fields in quotes,
quotes in them doubled, line breaks written as a backslash and an n (converted to line breaks here). The first field is the label, from 1;
the others are the text, one or several, joined by a space: a review; its title and text; a question's title, content, and best answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar

from studygroup.data.cache.fingerprint import files_digest
from studygroup.data.source import Meter, RawSplit, RawTexts, Row, TextSource
from studygroup.data.texts.archive import archive_files, locate
from studygroup.data.texts.columns import refuse_columns, refuse_encoding
from studygroup.data.texts.files import (
    UnreadableRows,
    csv_rows,
    decoded_lines,
    encoding_problem,
    file_lines,
    file_size,
    is_utf8,
    read_errors,
)
from studygroup.data.texts.records import join_texts
from studygroup.errors import UserError
from studygroup.escape import shortened
from studygroup.options import DataOptions

HOME = "http://goo.gl/JyCnZq"
COPIES = "https://s3.amazonaws.com/fast-ai-nlp/"
FILES = {"train": "train.csv", "test": "test.csv"}
STARS = tuple("12345")


class Reviews(TextSource):
    """A published archive, or a folder with the archive or with its unpacked folder.

    Attributes:
        classes: names, in the order of the labels.
        field_count: number of fields of a text.
    """

    classes: ClassVar[tuple[str, ...]]
    field_count: ClassVar[int]

    def __init__(self, path: Path | None, options: DataOptions) -> None:
        super().__init__(path, options)
        refuse_columns(options, self.name)
        refuse_encoding(options, self.name)
        self.folder = f"{self.name}_csv"
        self.archive = f"{self.folder}.tgz"
        if path is None:
            reason = "cannot be fetched: there is no lasting address" if options.download else "is not there"
            raise UserError(
                f"{self.name} {reason}; get {self.archive} from {HOME} (Xiang Zhang's Google Drive) or "
                f"{COPIES}{self.archive}, and give it as {self.name}:PATH"
            )
        self.location = locate(path, self.archive, self.folder, tuple(FILES.values()))

    def key(self) -> str:
        """See `Source`."""
        return files_digest(self.location, list(FILES.values()), self.cache, purpose=self.name, prefix=[self.name])

    def read(self) -> RawTexts:
        """See `Source`."""
        unreadable = UnreadableRows(self.options.on_error, self.name)
        splits = {}
        for split, name in FILES.items():
            meter, numbers = Meter(), list[str]()
            if self.location.is_file():
                path = self.location
                rows = self._read_archive(name, unreadable, meter, numbers)
            else:
                path = self.location / name
                rows = self._parse(file_lines(path, "utf-8", meter), name, unreadable, numbers)
            splits[split] = RawSplit(rows, file_size(path), meter, numbers)
        return RawTexts(self.classes, splits, unreadable.names)

    def _read_archive(self, name: str, unreadable: UnreadableRows, meter: Meter, numbers: list[str]) -> Iterator[Row]:
        """Yield the rows of a file in the archive."""
        selected = PurePosixPath(self.folder) / name
        found = False
        with read_errors(self.location):
            for _, file, _ in archive_files(self.location, lambda member: member == selected, meter):
                found = True
                yield from self._parse(decoded_lines(file, "utf-8", str(selected)), name, unreadable, numbers)
        if not found:
            raise UserError(f"{self.location} has no {selected}; give the published {self.archive}")

    def _parse(self, lines: Iterator[str], name: str, unreadable: UnreadableRows, numbers: list[str]) -> Iterator[Row]:
        """Yield the texts and labels in some lines; append their row numbers, from 1, to `numbers`."""
        classes = {str(number): label for number, label in enumerate(self.classes, 1)}
        count = 1 + self.field_count
        for number, (line, fields, problem) in enumerate(csv_rows(lines, ","), 1):
            if not problem and len(fields) != count:
                problem = f"{len(fields)} field{'s' if len(fields) > 1 else ''} instead of {count}"
            elif not problem and fields[0].strip() not in classes:
                problem = f"the label {shortened(fields[0])!r} is not from 1 to {len(classes)}"
            elif not all(map(is_utf8, fields)):
                problem = encoding_problem("utf-8")
            if problem:
                unreadable.add(f"row {number} of {name} (line {line}: {problem})", number)
            else:
                label, *texts = fields
                numbers.append(str(number))
                yield join_texts(text.replace("\\n", "\n") for text in texts), classes[label.strip()]


class YelpReviewFull(Reviews):
    """Yelp's reviews."""

    name = "yelp_review_full"
    description = "700,000 reviews, 1 to 5 stars; the published archive yelp_review_full_csv.tgz"
    classes = STARS
    field_count = 1


class AmazonReviewFull(Reviews):
    """Amazon's reviews: title and text."""

    name = "amazon_review_full"
    description = "3,650,000 reviews, 1 to 5 stars; the published archive amazon_review_full_csv.tgz"
    classes = STARS
    field_count = 2


class YahooAnswers(Reviews):
    """Yahoo's questions: title, content and best answer."""

    name = "yahoo_answers"
    description = "1,460,000 questions and answers, 10 topics; the published archive yahoo_answers_csv.tgz"
    classes = (
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
    )
    field_count = 3
