"""The sources of texts by name."""

from __future__ import annotations

from studygroup.data.texts.folder import SUFFIX, TextFolder, is_text_folder
from studygroup.data.texts.hub import Hub
from studygroup.data.texts.imdb import Imdb
from studygroup.data.texts.reviews import REVIEW_SETS, Reviews
from studygroup.data.texts.source import TextReadOptions, TextSource
from studygroup.data.texts.table import SUFFIXES, Table, is_table
from studygroup.errors import UserError, unknown_name

__all__ = ["TEXT_SOURCES", "find_text", "is_table", "is_text_folder"]

TEXT_SOURCES: dict[str, str] = {
    "imdb": "50,000 film reviews, negative or positive; the published archive aclImdb_v1.tar.gz, or --download",
    "yelp_review_full": "700,000 reviews, 1 to 5 stars; the published archive yelp_review_full_csv.tgz",
    "yahoo_answers": "1,460,000 questions and answers, 10 topics; the published archive yahoo_answers_csv.tgz",
    "amazon_review_full": "3,650,000 reviews, 1 to 5 stars; the published archive amazon_review_full_csv.tgz",
    "hub": "a data set of Hugging Face's hub (hub:NAME, --download), or a folder of save_to_disk (hub:FOLDER); pip install datasets",
    "table": f"a table of texts and labels ({', '.join(SUFFIXES)}), or a folder with such tables train and test: give its path",
    "texts": f"any folder of texts ({SUFFIX}) with one sub-folder per class, or with train/ and test/ that have them: give its path",
}
"""The data sets of texts by name, with a line on each."""


def find_text(name: str, options: TextReadOptions) -> TextSource:
    """The source of this name, at the place that was asked for.

    Raises:
        UserError: there is none, or it is not where it should be.
    """
    if name == "imdb":
        return Imdb(options)
    if name in REVIEW_SETS:
        return Reviews(name, options)
    if name == "hub":
        return Hub(options)
    if name in ("table", "texts"):
        if options.path is None:
            raise UserError(f"{name} stands for {TEXT_SOURCES[name]}")
        return Table(options) if name == "table" else TextFolder(options)
    raise unknown_name("data set of texts", name, TEXT_SOURCES)
