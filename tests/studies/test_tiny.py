"""Every study at scale tiny, from the first step to the figure: `pytest -m slow -k NAME`; a few are in the default suite."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studygroup.studies.registry import STUDIES
from tests.studies.conftest import World

QUICK = ("cgl-table5", "cgl-figure5")


@pytest.mark.filterwarnings("ignore:with 2 students there is one peer")
@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STUDIES])
def test_it_runs(name: str, study: Callable[..., dict[str, Any]], in_process: World, tmp_path: Path) -> None:
    result = study(name)
    assert result["failed"] == {}
    assert all(len(cell["by_seed"]) == 2 for cell in result["cells"]), "every cell has both seeds"
    assert all(part["low"] is not None for claim in result["claims"] for part in claim["parts"])
    with Image.open(tmp_path / "study" / "figure.png") as picture:
        assert picture.width > 400
    assert ET.parse(tmp_path / "study" / "figure.svg").getroot().tag.endswith("svg")
    page = (tmp_path / "study" / "study.md").read_text()
    assert all(claim["verdict"] in page for claim in result["claims"])
