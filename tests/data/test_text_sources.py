"""Which source of texts is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from studygroup.data.imdb import Imdb
from studygroup.data.reviews import REVIEW_SETS, Reviews
from studygroup.data.table import Table
from studygroup.data.text_folder import TextFolder
from studygroup.data.text_sources import TEXT_SOURCES, find_text
from studygroup.errors import UserError
from tests.data.texts import asked, pack


def test_by_name(tmp_path: Path, cache: Path) -> None:
    path = pack(tmp_path / "archive.tgz", {})
    assert isinstance(find_text("imdb", asked(path, cache)), Imdb)
    for name in REVIEW_SETS:
        source = find_text(name, asked(path, cache))
        assert isinstance(source, Reviews)
        assert source.name == name
    assert {"imdb", "hub", "table", "texts", *REVIEW_SETS} == set(TEXT_SOURCES)
    for name in TEXT_SOURCES:
        with pytest.raises(UserError, match=name):
            find_text(name, asked(None, cache))
    with pytest.raises(UserError, match="did you mean imdb"):
        find_text("imbd", asked(None, cache))


def test_by_its_looks(tmp_path: Path, cache: Path) -> None:
    for label in "ab":
        (tmp_path / "texts" / label).mkdir(parents=True)
        (tmp_path / "texts" / label / "1.txt").touch()
    (tmp_path / "t.csv").touch()
    (tmp_path / "tables").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "tables" / "train.csv").touch()
    for name in (None, "texts"):
        assert isinstance(find_text(name, asked(tmp_path / "texts", cache)), TextFolder)
    for name in (None, "table"):
        for place in ("t.csv", "tables"):
            assert isinstance(find_text(name, asked(tmp_path / place, cache)), Table)
    with pytest.raises(UserError, match="gone does not exist; give a table of texts and labels, a folder, or one of imdb"):
        find_text(None, asked(tmp_path / "gone", cache))
    with pytest.raises(UserError, match=r"is no table \(\.csv.*\) and no folder of texts"):
        find_text(None, asked(tmp_path / "empty", cache))
    with pytest.raises(UserError, match="None does not exist"):
        find_text(None, asked(None, cache))
