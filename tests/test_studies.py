"""The mails of the spam studies, and the linear model. The recipes are tested with the sweep."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PLAIN = "From nobody@example.org Sun Aug 25\nDate: Sun, 25 Aug 2002\nSubject: {}\nContent-Type: {}\n\n{}"


def program(path: str) -> ModuleType:
    """Import a program that is not in a package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package_of(folder: Path, mails: dict[str, list[str]]) -> Path:
    """Write a package as npm unpacks it."""
    for group in ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2"):
        home = folder / "package" / "data" / group
        home.mkdir(parents=True)
        for number, mail in enumerate(mails.get(group, [PLAIN.format(f"of {group}", "text/plain", "hello")])):
            (home / f"0000{number}.json").write_text(json.dumps({"id": "x", "checksum": "x", "text": mail, "group": group, "date": "x"}))
    return folder / "package"


def test_mails_become_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    spam_assassin = program("recipes/spam_assassin.py")
    page = "<html><style>p {}</style><p>Buy&nbsp;now</p><script>go()</script></html>"
    both = (
        "Subject: both\nContent-Type: multipart/alternative; boundary=X\n\n--X\nContent-Type: text/html\n\n<b>page</b>\n"
        '--X\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\ncaf=E9, "plain"\n--X--\n'
    )
    mails = {
        "easy-ham-1": [PLAIN.format("Re: lunch", "text/plain", "at  noon?\n\nyes"), both],
        "spam-1": [PLAIN.format("offer", "text/html; charset=nowhere", page), PLAIN.format("Re: lunch", "text/plain", "at noon? yes")],
    }
    package, table = package_of(tmp_path, mails), tmp_path / "mails.csv"
    monkeypatch.setattr(sys, "argv", ["spam_assassin.py", str(package), str(table)])
    spam_assassin.main()
    with table.open(encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    assert found == [
        ["text", "label", "group"],
        ["Re: lunch at noon? yes", "ham", "easy-ham-1"],
        ['both café, "plain"', "ham", "easy-ham-1"],
        ["of easy-ham-2 hello", "ham", "easy-ham-2"],
        ["of hard-ham-1 hello", "ham", "hard-ham-1"],
        ["offer Buy now", "spam", "spam-1"],  # and not the mail that is there already
        ["of spam-2 hello", "spam", "spam-2"],
    ]
    assert "6 mails, 2 easy-ham-1, 1 easy-ham-2, 1 hard-ham-1, 1 spam-1, 1 spam-2" in capsys.readouterr().out
    before = table.read_bytes()
    monkeypatch.setattr(sys, "argv", ["spam_assassin.py", str(tmp_path), str(table)])
    with pytest.raises(SystemExit, match=r"easy-ham-1 has no mails; give the folder that the package was unpacked to"):
        spam_assassin.main()
    assert table.read_bytes() == before


def test_a_linear_model_of_the_same_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A linear model is perfect where one word determines the class."""
    random = np.random.default_rng(0)
    with (tmp_path / "texts.csv").open("w", newline="") as file:
        labels = random.choice(2, 400, p=[0.3, 0.7])
        csv.writer(file).writerows([("text", "label"), *((f"{['good', 'bad'][label]} {random.integers(9)}", label) for label in labels)])
    options = {"data": str(tmp_path / "texts.csv"), "test_size": 100, "holdout": 50, "train_size": 100, "student": "transformer"}
    recipe = tmp_path / "study.yaml"
    recipe.write_text("".join(f"{name}: {value}\n" for name, value in {**options, "vocabulary": 300, "variants": "{}"}.items()))
    monkeypatch.setenv("STUDYGROUP_CACHE", str(tmp_path / "cache"))
    holdout, test, most = program("studies/linear.py").measure(recipe, 2)
    assert (holdout, test) == (1.0, 1.0)
    assert 0.6 < most < 0.8
