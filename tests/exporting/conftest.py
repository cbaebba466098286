"""Small runs on digits and on a table of texts, and the programs of docs/deploy.md."""

from __future__ import annotations

import csv
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import studygroup
from studygroup.runs.member import Run
from tests.exporting.exports import MODULE, SMALL, TRANSFORMER, VDCNN, WORDS, register_networks


@pytest.fixture(autouse=True)
def small_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a small network, and measure times briefly."""
    register_networks(monkeypatch)
    monkeypatch.setattr("studygroup.exporting.check.SECONDS", 0.01)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' data is prepared."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Run:
    """A run of two students that have learnt something."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    return studygroup.train("digits", method="dml", student="resnet8", epochs=2, out=folder, cache=cache, **SMALL)


@pytest.fixture(scope="session")
def own_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `my_network.py`."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_network.py").write_text(MODULE)
    return folder


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of texts whose words tell the class."""
    drawn = random.Random(0)
    path = tmp_path_factory.mktemp("table") / "walks.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _ in range(240):
            label = drawn.choice(sorted(WORDS))
            writer.writerow([" ".join(drawn.choice([*WORDS[label], "the"]) for _ in range(drawn.randint(2, 12))), label])
    return path


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory, cache: Path, table: Path) -> Run:
    """A run of a transformer on byte-pair encodings."""
    folder = tmp_path_factory.mktemp("texts") / "run"
    options: dict[str, Any] = {"vocabulary": 300, "learning_rate": 0.01, "epochs": 3, "test_size": 40.0, **SMALL}
    return studygroup.train(table, method="baseline", student=TRANSFORMER, out=folder, cache=cache, **options)


@pytest.fixture(scope="session")
def characters(tmp_path_factory: pytest.TempPathFactory, cache: Path, table: Path) -> Run:
    """A run of a convolutional network on characters."""
    folder = tmp_path_factory.mktemp("characters") / "run"
    options: dict[str, Any] = {"tokenizer": "chars", "max_length": 80, "learning_rate": 0.01, "epochs": 6, "test_size": 40.0, **SMALL}
    with pytest.MonkeyPatch.context() as patch:
        register_networks(patch)
        return studygroup.train(table, method="baseline", student=VDCNN, out=folder, cache=cache, **options)


@pytest.fixture(scope="session")
def hugging_face(tmp_path_factory: pytest.TempPathFactory, cache: Path, table: Path) -> Run:
    """A run that starts from a model of Hugging Face whose folder is gone afterwards."""
    pytest.importorskip("transformers")
    pytest.importorskip("tokenizers")
    from tests.training.test_hugging_face import save_model

    folder = tmp_path_factory.mktemp("hugging_face")
    model = save_model(folder / "model")
    options: dict[str, Any] = {"learning_rate": 0.01, "epochs": 6, "test_size": 40.0, **SMALL}
    run = studygroup.train(table, method="baseline", student=f"hf:{model}", out=folder / "run", cache=cache, **options)
    shutil.rmtree(model)
    return run
