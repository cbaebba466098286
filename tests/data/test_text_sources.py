"""Which source of texts is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from studygroup.data import reads_texts
from studygroup.data.sources import parse
from studygroup.data.texts.imdb import Imdb
from studygroup.data.texts.reviews import REVIEW_SETS, Reviews
from studygroup.data.texts.sources import TEXT_SOURCES, find_text
from studygroup.errors import UserError
from tests.data.texts.helpers import source_args, pack


def test_by_name(tmp_path: Path, cache: Path) -> None:
    path = pack(tmp_path / "archive.tgz", {})
    assert isinstance(find_text("imdb", source_args(path, cache)), Imdb)
    for name in REVIEW_SETS:
        source = find_text(name, source_args(path, cache))
        assert isinstance(source, Reviews)
        assert source.name == name
    assert {"imdb", "hub", "table", "texts", *REVIEW_SETS} == set(TEXT_SOURCES)
    for name in TEXT_SOURCES:
        with pytest.raises(UserError, match=name):
            find_text(name, source_args(None, cache))
    with pytest.raises(UserError, match="did you mean imdb"):
        find_text("imbd", source_args(None, cache))


def test_by_its_looks(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "texts" / label).mkdir(parents=True)
        (tmp_path / "texts" / label / "1.txt").touch()
    for folder in ("tables", "empty"):
        (tmp_path / folder).mkdir()
    for file in ("t.csv", "tables/train.csv", "t.doc"):
        (tmp_path / file).touch()
    for place, name in {"texts": "texts", "t.csv": "table", "tables": "table", "empty": "folder"}.items():
        assert parse(str(tmp_path / place)) == (name, tmp_path / place)
        assert reads_texts(tmp_path / place) == (name != "folder")
    assert parse(f"table:{tmp_path}/t.doc") == ("table", tmp_path / "t.doc")
    for data, message in {
        f"{tmp_path}/gone.csv": r"gone.csv does not exist; give a folder of images or texts, a table, or one of",
        "gone.csv": r"^gone.csv does not exist; give a folder",
        f"{tmp_path}/t.doc": r"t.doc is a file, and none of a table's kind",
        "table": r"table stands for a table of texts and labels \(.csv",
        "imbd": "did you mean imdb",
    }.items():
        with pytest.raises(UserError, match=message):
            parse(data)
