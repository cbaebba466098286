"""A method is read at one sitting."""

from __future__ import annotations

import statistics
from pathlib import Path

import studygroup.methods
from studygroup.methods import METHODS

FILES = sorted(Path(studygroup.methods.__file__).parent.glob("*.py"))
LENGTHS = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}


def test_all_method_files_are_measured() -> None:
    assert {f"{kind.__module__.rpartition('.')[2]}.py" for kind in METHODS.values()} <= set(LENGTHS)


def test_no_file_is_long() -> None:
    long = {name: length for name, length in LENGTHS.items() if length >= 150}
    assert not long, "what is a thing of its own has a file of its own"


def test_most_files_are_short() -> None:
    assert statistics.median(LENGTHS.values()) < 90
