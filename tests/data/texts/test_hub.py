"""Hugging Face's data sets: with a stand-in for their library, and with the library itself where it is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from studygroup.data.texts import hub
from studygroup.data.texts.hub import Hub
from studygroup.errors import UserError
from tests.data.texts.helpers import read, rows, source_args

Columns = dict[str, list[Any]]
CLASSES = ("neg", "pos")


class StandIn:
    """A split of a data set, as much of it as is used; on the disk it is a file of JSON."""

    def __init__(self, columns: Columns, classes: Mapping[str, tuple[str, ...]]) -> None:
        self.columns = columns
        self.features = {name: SimpleNamespace(names=list(classes[name])) if name in classes else SimpleNamespace() for name in columns}
        self.num_rows = len(next(iter(columns.values())))

    def with_format(self, kind: None) -> StandIn:
        return self

    def select_columns(self, names: list[str]) -> StandIn:
        assert len(set(names)) == len(names)
        return StandIn({name: self.columns[name] for name in names}, {})

    def __getitem__(self, rows: slice) -> Columns:
        assert rows.stop - rows.start <= 256, "some rows at a time"
        return {name: values[rows] for name, values in self.columns.items()}


Stub = Callable[..., Path]


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Let a stand-in be the library: `stub({"train": {"text": [...], "label": [...]}})` is a folder that it wrote."""

    def load_from_disk(path: str) -> StandIn | dict[str, StandIn]:
        saved = json.loads((Path(path) / "dataset_dict.json").read_text())
        splits = {name: StandIn(columns, saved["classes"]) for name, columns in saved["splits"].items()}
        return splits.get("", splits)

    def write(splits: Mapping[str, Columns], name: str = "saved", **classes: tuple[str, ...]) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": splits, "classes": classes}))
        return folder

    library = ModuleType("datasets")
    vars(library).update(__version__="4.0.0", load_from_disk=load_from_disk)
    monkeypatch.setitem(sys.modules, "datasets", library)
    return write


def some(*labels: Any) -> Columns:
    return {"text": [f"text {i}" for i in range(len(labels))], "label": list(labels)}


def test_a_saved_folder(stub: Stub, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = Hub(*source_args(stub({"train": some(1, 0), "test": some(0)}, label=CLASSES), cache))
    assert source.name == "saved"
    assert source.read().classes == CLASSES
    assert read(source) == {"train": [("text 0", "pos"), ("text 1", "neg")], "test": [("text 0", "neg")]}
    assert "'text' is taken for the text, 'label' for the label" in caplog.text


def test_a_single_split_and_plain_labels(stub: Stub, cache: Path) -> None:
    source = Hub(*source_args(stub({"": some("b", "a", 3, 2.0)}), cache, text_columns=("text",), label_column="label"))
    assert source.read().classes is None
    assert read(source) == {"train": [("text 0", "b"), ("text 1", "a"), ("text 2", "3"), ("text 3", "2")]}


def test_many_rows(stub: Stub, cache: Path) -> None:
    labels = [i % 2 for i in range(1000)]
    assert read(Hub(*source_args(stub({"": some(*labels)}, label=CLASSES), cache)))["train"] == [
        (f"text {i}", CLASSES[label]) for i, label in enumerate(labels)
    ]


def test_columns(stub: Stub, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = {"title": ["t"], "text": ["u"], "label": ["x"], "mood": [1]}
    folder = stub({"": columns}, mood=CLASSES)
    with pytest.raises(UserError, match="may hold the texts: 'title', 'text'"):
        Hub(*source_args(folder, cache)).key()
    assert read(Hub(*source_args(folder, cache, text_columns=("title", "text"))))["train"] == [("t u", "pos")]
    assert "'mood' for the label (not used: 'label')" in caplog.text
    assert read(Hub(*source_args(folder, cache, text_columns=("text",), label_column="label")))["train"] == [("u", "x")]
    with pytest.raises(UserError, match="saved has no column 'txt'; it has 'title', 'text'"):
        Hub(*source_args(folder, cache, text_columns=("txt",))).key()
    assert read(Hub(*source_args(stub({"": {"x": [f"{i}" for i in range(20)], "y": [0, 1] * 10}}), cache)))["train"][:2] == [
        ("0", "0"),
        ("1", "1"),
    ]


def test_choice_of_the_splits(stub: Stub, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    splits = {"unsupervised": some(-1), "validation": some(1, 1), "Train": some(0, 1), "test": some(-1, -1)}
    source = Hub(*source_args(stub(splits, label=CLASSES), cache))
    assert {split: len(found) for split, found in read(source).items()} == {"train": 2, "val": 2}
    assert source.splits["val"].title == "saved validation"
    assert "saved test is not used: its labels are hidden" in caplog.text
    assert "not used of saved: the splits unsupervised" in caplog.text
    source = Hub(*source_args(stub({**splits, "test": some(-1, 0)}, label=CLASSES), cache, on_error="skip"))
    raw = source.read()
    assert rows(raw, "test") == [("text 1", "neg")]
    assert raw.unreadable == ["row 1 of saved test (no label)"]
    assert rows(raw, "val") == [("text 0", "pos"), ("text 1", "pos")]
    with pytest.raises(UserError, match="saved has no split for training; it has test"):
        Hub(*source_args(stub({"test": some(1)}), cache)).key()
    with pytest.raises(UserError, match="saved test has no column 'label', but saved train has"):
        read(Hub(*source_args(stub({"train": some(1), "test": {"text": ["a"]}}), cache)))


def test_different_classes_are_refused(stub: Stub, cache: Path) -> None:
    source = Hub(*source_args(stub({"train": some(0, 1), "test": some(0, 1)}, label=CLASSES), cache))
    test = source.all_splits["test"]
    test.split.features["label"].names.append("neutral")
    with pytest.raises(UserError, match="classes of saved test differ from those of saved train"):
        source.read()


def test_unreadable_rows(stub: Stub, cache: Path) -> None:
    folder = stub({"": {"text": ["a", None, 3, "\ud800", "e", "f"], "label": [0, 0, 0, 0, 7, None]}}, label=CLASSES)
    raw = Hub(*source_args(folder, cache, on_error="skip")).read()
    assert rows(raw) == [("a", "neg")]
    assert raw.unreadable == [
        "row 2 of saved (column 'text' is missing)",
        "row 3 of saved (column 'text' is 3, not a text)",
        "row 4 of saved (column 'text' has half of a surrogate pair, which is no character)",
        "row 5 of saved (no label)",
        "row 6 of saved (no label)",
    ]
    with pytest.raises(UserError, match=r"row 2 of saved \(column 'text' is missing\) cannot be read"):
        read(Hub(*source_args(folder, cache)))


def test_key_depends_on_content_and_classes(stub: Stub, cache: Path) -> None:
    first = Hub(*source_args(stub({"": some(0, 1)}, label=CLASSES), cache)).key()
    assert Hub(*source_args(stub({"": some(0, 1)}, "copy", label=CLASSES), cache)).key() == first
    assert Hub(*source_args(stub({"": some(1, 0)}, label=CLASSES), cache)).key() != first
    assert Hub(*source_args(stub({"": some(0, 1)}, label=("a", "b")), cache)).key() != first
    recorded = stub({"": {"text": ["a", "b", "c"], "label": [0, 1, 0]}}, label=("neg", "pos"))
    assert Hub(*source_args(recorded, cache)).key() == "b5306db68bf70fabb4b075860eff2185", "a changed key makes users prepare data again"


def test_a_download_is_kept(stub: Stub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Fetched:
        def save_to_disk(self, path: str) -> None:
            stub({"train": some(0, 1), "test": some(1)}, path, label=CLASSES)

    def load_dataset(*arguments: Any, **options: Any) -> Fetched:
        calls.append(arguments)
        assert not options, "least of all trust_remote_code"
        return Fetched()

    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", load_dataset, raising=False)
    with pytest.raises(UserError, match="hub:me/reviews@en is not there; fetch it with --download"):
        Hub(*source_args(Path("me/reviews@en"), cache))
    for download in (True, True, False):
        source = Hub(*source_args(Path("me/reviews@en"), cache, download=download))
        assert source.name == "me/reviews@en"
        assert read(source) == {"train": [("text 0", "neg"), ("text 1", "pos")], "test": [("text 0", "pos")]}
    Hub(*source_args(Path("plain"), cache, download=True))
    assert calls == [("me/reviews", "en"), ("plain", None)], "once each"
    assert sorted(path.name for path in (cache / "downloads" / "hub").iterdir() if path.is_dir()) == ["me--reviews@en", "plain"]


def test_another_process_downloads_first(stub: Stub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def file_lock(path: Path) -> Iterator[bool]:
        stub({"": some(0, 1)}, str(path.with_suffix("")), label=CLASSES)
        yield True

    monkeypatch.setattr(hub, "file_lock", file_lock)
    assert len(read(Hub(*source_args(Path("x"), cache, download=True)))["train"]) == 2, "there is no load_dataset to be called"


def test_failed_downloads(stub: Stub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*arguments: Any) -> None:
        raise ConnectionError("Couldn't reach 'x'\non the Hub")

    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", load_dataset, raising=False)
    with pytest.raises(UserError, match=r"hub:x cannot be fetched \(Couldn't reach 'x' on the Hub\); check the name and the network"):
        Hub(*source_args(Path("x"), cache, download=True))
    assert not [path for path in (cache / "downloads" / "hub").iterdir() if path.is_dir()]
    for name in ("a/b/c", "../x", "/gone", ".x", "a b", "x@", "x@@y"):
        with pytest.raises(UserError, match=r"is neither a folder nor the name of a data set; give hub:OWNER/NAME"):
            Hub(*source_args(Path(name), cache, download=True))


def test_invalid_paths_are_refused(stub: Stub, tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match="give its name as hub:NAME"):
        Hub(*source_args(None, cache))
    with pytest.raises(UserError, match=r"was not written by save_to_disk: it has no dataset_dict.json or state.json"):
        Hub(*source_args(tmp_path, cache))
    with pytest.raises(UserError, match="encoding of its own"):
        Hub(*source_args(stub({"": some(0)}), cache, encoding="utf-8"))
    (tmp_path / "saved" / "dataset_dict.json").write_text("{")
    with pytest.raises(UserError, match=r"saved cannot be read as a data set \(.*\); get it again"):
        Hub(*source_args(tmp_path / "saved", cache)).key()


def test_the_library_must_be_installed_and_new(stub: Stub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stub({"": some(0)})
    monkeypatch.setattr(sys.modules["datasets"], "__version__", "3.6.0")
    with pytest.raises(UserError, match=r"needs datasets 4 or newer, not 3.6.0; pip install --upgrade datasets"):
        Hub(*source_args(folder, cache))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'studygroup\[datasets\]'"):
        Hub(*source_args(folder, cache))


def test_the_library_itself(tmp_path: Path, cache: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(CLASSES))})
    labels = [i % 2 for i in range(600)]
    data = datasets.DatasetDict(
        {
            "train": datasets.Dataset.from_dict(some(*labels), features=features),
            "test": datasets.Dataset.from_dict(some(-1, -1), features=features),
            "validation": datasets.Dataset.from_dict(some(1, -1), features=features),
        }
    )
    data["train"] = data["train"].with_format("numpy")
    data.save_to_disk(str(tmp_path / "saved"))
    source = Hub(*source_args(tmp_path / "saved", cache, on_error="skip"))
    raw = source.read()
    assert raw.classes == CLASSES
    assert rows(raw) == [(f"text {i}", CLASSES[label]) for i, label in enumerate(labels)]
    assert rows(raw, "val") == [("text 0", "pos")]
    assert raw.unreadable == ["row 2 of saved validation (no label)"]
    data["train"].save_to_disk(str(tmp_path / "single"))
    single = Hub(*source_args(tmp_path / "single", cache))
    assert list(read(single)) == ["train"]
    assert single.key() != source.key() == Hub(*source_args(tmp_path / "saved", cache)).key()
    [arrow] = (tmp_path / "single").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:100])
    with pytest.raises(UserError, match=r"cannot be read as a data set .*; get it again"):
        Hub(*source_args(tmp_path / "single", cache)).key()
