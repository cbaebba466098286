"""Modules of a user's own, in the working directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

NETWORK = """\
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.Linear(64, num_classes))

def make(num_classes, in_channels):
    return Net(num_classes)
"""


@dataclass
class Project:
    """A working directory.

    Attributes:
        folder: the directory.
        marker: file that exists once `marking` code has run.
    """

    folder: Path
    marker: Path

    def write(self, module: str, content: str = NETWORK) -> None:
        """Write a module."""
        (self.folder / f"{module}.py").write_text(content)

    def marking(self) -> str:
        """Return the content of a module with a network that leaves a mark when it is executed."""
        return f"open({str(self.marker)!r}, 'a').close()\n{NETWORK}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Return an empty working directory; afterwards, `sys.path` is as it was, and modules of temporary folders are forgotten."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    before = set(sys.modules)
    yield Project(folder, tmp_path / "marker")
    for name in set(sys.modules) - before:
        places = [getattr(sys.modules[name], "__file__", None), *getattr(sys.modules[name], "__path__", ())]
        if any(place and place.startswith(str(tmp_path)) for place in places):
            del sys.modules[name]
