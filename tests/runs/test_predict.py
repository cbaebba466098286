"""Predictions from Python: kinds of inputs, what is refused, and what is held in memory."""

from __future__ import annotations

import csv
import io
import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import studygroup as sg
from studygroup import Member, UserError, cli
from studygroup.data import Images, Tokens
from studygroup.data.images.arrays import split_images
from studygroup.data.texts.tokenizers import Chars
from studygroup.networks import create
from studygroup.runs.layout import RunFiles
from studygroup.runs.member import Run
from studygroup.runs.writer import write_member

SHAPE = (3, 8, 8)
CLASSES = ["cat", "dog", "emu"]
INPUTS = Images(SHAPE, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
CARD: dict[str, Any] = {"classes": CLASSES, "precision": "float32", "channels_last": False, "network": "resnet8", **INPUTS.to_card()}


def network() -> nn.Module:
    """An untrained network, in whose logits the images differ."""
    torch.manual_seed(0)
    return create("resnet8", 3, in_channels=3)


class CountLetters(nn.Module):
    """Logits from the number of tokens that are not padding."""

    def forward(self, ids: Tensor) -> Tensor:
        lengths = (ids != Chars().pad).sum(1, keepdim=True).float()
        return torch.cat([lengths, 2 - lengths, torch.zeros_like(lengths)], 1)


@pytest.fixture
def member() -> Member:
    return Member("best", network(), INPUTS, CARD)


@pytest.fixture
def reader() -> Member:
    """A member that reads texts."""
    return Member("best", CountLetters(), Tokens(Chars(), 16), CARD)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with one member."""
    return write_run(tmp_path / "run")


def write_run(folder: Path) -> Path:
    files = RunFiles(folder)
    files.members.mkdir(parents=True)
    write_member(files, "best", network(), CARD)
    selected = {"member": "student0", "epoch": 1, "holdout": 0.5, "test": None}
    last = {"epoch": 1, "holdout": {}, "test": {}}
    files.result.write_text(json.dumps({"selected": selected, "last": last, "method": "dml", "student": "resnet8", "data": "photos"}))
    return folder


def pixels(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def probability(rows: list[dict[str, Any]]) -> list[float]:
    return [row["probability"] for row in rows]


# Images


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_image_its_array_and_its_file_have_the_same_prediction(member: Member, tmp_path: Path, channels: int) -> None:
    array = pixels(20, 30, channels)
    picture = Image.fromarray(array[:, :, 0] if channels == 1 else array)
    picture.save(tmp_path / "image.png")
    (expected,) = member.predict(tmp_path / "image.png", top=3)
    assert expected.pop("path") == str(tmp_path / "image.png")
    first = np.ascontiguousarray(array.transpose(2, 0, 1))
    forms: list[Any] = [picture, array, first, array[None], first[None], *map(torch.tensor, (array, first, array[None], first[None]))]
    forms += [array[:, :, 0], torch.tensor(array[:, :, 0])] if channels == 1 else []
    for form in forms:
        assert member.predict(form, top=3) == [{"index": 0, **expected}]
    with Image.open(tmp_path / "image.png") as unread:
        rows = member.predict([tmp_path / "image.png", unread, unread, array, str(tmp_path / "image.png")], top=3)
    assert [next(iter(row)) for row in rows] == ["path", "index", "index", "index", "path"]
    assert [row["index"] for row in rows if "index" in row] == [0, 1, 2], "positions among those without a path"
    assert probability(rows) == pytest.approx([expected["probability"]] * 5, rel=1e-5)


def test_pil_images_of_any_mode_and_orientation(member: Member, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels(20, 30, 3)).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(pixels(20, 30, 3)).quantize(16).save(tmp_path / "palette.png")
    Image.fromarray(pixels(20, 30).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("turned", "palette", "deep"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert probability(member.predict(image)) == probability(member.predict(tmp_path / f"{name}.png"))


def test_batches_and_iterables(member: Member) -> None:
    batch = pixels(7, 8, 8, 3)
    rows = member.predict(batch)
    assert [row["index"] for row in rows] == list(range(7))
    assert len(set(probability(rows))) == 7
    for same in (list(batch), tuple(batch), iter(batch), [batch[:3], batch[3:]], (torch.tensor(part) for part in batch)):
        assert member.predict(same) == rows
    assert probability(member.predict(batch, batch_size=1)) == pytest.approx(probability(rows), rel=1e-5)
    assert member.predict(batch.transpose(0, 3, 1, 2)) == rows
    assert member.predict(np.asfortranarray(batch)[:, ::1]) == rows
    assert member.predict([]) == []


@pytest.mark.parametrize("shape", [(3, 6, 3), (1, 6, 4), (4, 6, 1)])
def test_where_both_axes_could_be_channels_arrays_have_them_last_and_tensors_first(shape: tuple[int, int, int]) -> None:
    array = pixels(*shape)
    ((from_array,), (from_tensor,)) = (list(split_images(form)) for form in (array, torch.tensor(array)))
    assert isinstance(from_array, np.ndarray)
    assert np.array_equal(from_array, array)
    assert np.array_equal(np.asarray(from_tensor), array.transpose(1, 2, 0))
    for form in (array[None], torch.tensor(array[None])):
        (image,) = split_images(form)
        assert np.array_equal(np.asarray(image), array if isinstance(form, np.ndarray) else array.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), r"an array of shape \(8, 8, 3\) has dtype float32; give uint8 pixels 0-255"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.bfloat16), r"a tensor of shape \(2, 3, 8, 8\) has dtype bfloat16; give uint8 pixels 0-255"),
        (np.full((8, 8, 3), 300, np.uint16), r"an array of shape \(8, 8, 3\) has dtype uint16; give uint8 pixels 0-255"),
        (
            np.full((8, 8, 3), 0.5),
            r"an array .* has dtype float64; give uint8 pixels 0-255 \(for values from 0 to 1, 255 times them, rounded",
        ),
        (np.zeros((8, 8), np.int64), r"an array of shape \(8, 8\) has dtype int64; give uint8"),
        (np.zeros((8, 8), bool), r"an array of shape \(8, 8\) has dtype bool; give uint8"),
        (np.zeros((5, 8, 8), np.uint8), r"an array of shape \(5, 8, 8\) is no image; give \(H, W\), .* need an axis of channels, array\["),
        (torch.zeros(5, 8, 8, dtype=torch.uint8), r"a tensor of shape \(5, 8, 8\) is no image; .*, tensor\["),
        (np.zeros((5, 2, 8, 8), np.uint8), r"an array of shape \(5, 2, 8, 8\) is no image; give .* with C = 1, 3 or 4$"),
        (np.zeros(8, np.uint8), r"an array of shape \(8,\) is no image"),
        (np.zeros((), np.uint8), r"an array of shape \(\) is no image"),
        (np.zeros((1, 2, 3, 8, 8), np.uint8), r"an array of shape \(1, 2, 3, 8, 8\) is no image"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"an array of shape \(0, 8, 8, 3\) has no pixels; leave it out"),
        (torch.zeros(3, 0, 8, dtype=torch.uint8), r"a tensor of shape \(3, 0, 8\) has no pixels"),
        (Image.new("RGB", (0, 5)), r"a PIL image of size \(0, 5\) has no pixels"),
        (7, "a value of type int is no image; give paths, PIL images, uint8 arrays or tensors, or one flat list"),
        (None, "a value of type NoneType is no image"),
        (b"png", "a value of type bytes is no image"),
        ({"image": 1}, "a value of type dict is no image"),
        ([[pixels(8, 8)]], "input 0: a value of type list is no image"),
        ([pixels(8, 8), np.zeros((8, 8))], r"input 1: an array of shape \(8, 8\) has dtype float64"),
        ("gone.png", "gone.png does not exist; give an image file or a folder of images"),
    ],
)
def test_what_is_no_image_is_refused(member: Member, given: Any, message: str) -> None:
    for function in (member.predict, member.stream, member.predict_proba):
        with pytest.raises(UserError, match=f"^{message}"):
            function(given)  # stream, too: before a row is asked for
    if not isinstance(given, list):
        with pytest.raises(UserError, match=message):
            list(member.stream(item for item in [given]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top is 0; it must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"on_error": "ignore"}, "on_error is 'ignore'; it must be stop or skip"),
        ({"device": "gpu7"}, "gpu7"),
    ],
)
def test_arguments_are_checked(member: Member, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        member.stream(pixels(8, 8), **options)


def test_a_damaged_pil_image_is_refused_or_skipped(member: Member, capsys: pytest.CaptureFixture[str]) -> None:
    whole = io.BytesIO()
    Image.fromarray(pixels(40, 40, 3)).save(whole, "png")
    torn = whole.getvalue()[:2000]

    def given() -> Iterator[Any]:
        return iter([Image.open(whole), Image.open(io.BytesIO(torn)), pixels(8, 8)])

    with pytest.raises(UserError, match=r"^index 1: a PIL image of mode RGB and size \(40, 40\) cannot be read: .*; is it damaged\?"):
        member.predict(given())
    assert [row["index"] for row in member.predict(given(), on_error="skip")] == [0, 2]
    assert capsys.readouterr().err.startswith("skipped: index 1: a PIL image")
    assert member.predict(Image.open(io.BytesIO(torn)), on_error="skip") == []


# Texts


def test_texts_and_batches_of_them(reader: Member, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("abc")
    letter = str(tmp_path / "letter.txt")
    rows = reader.predict(["abc", tmp_path / "letter.txt", "a"])
    assert [(row["text"], row["label"]) for row in rows] == [("abc", "cat"), (letter, "cat"), ("a", "cat")]
    assert rows[0]["probability"] == rows[1]["probability"] > rows[2]["probability"]
    texts = ["abc", "", "a"]
    expected = [reader.predict(text)[0] for text in texts]
    for given in (texts, tuple(texts), iter(texts), np.array(texts), np.array(texts, dtype=object)):
        assert reader.predict(given) == expected
    assert reader.predict_proba(texts).shape == (3, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "a value of type int is no text; give strings, paths of text files, or one list of them"),
        ([["a"], ["b"]], "input 0: a value of type list is no text"),
        (["a", b"b"], "input 1: a value of type bytes is no text"),
        (np.zeros((2, 3), np.int64), r"a value of type ndarray of shape \(2, 3\) is no text"),
        (torch.zeros(2, dtype=torch.int64), r"a value of type Tensor of shape \(2,\) is no text"),
        (Image.new("L", (8, 8)), "a value of type Image is no text"),
    ],
)
def test_what_is_no_text_is_refused(reader: Member, given: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        reader.predict(given)


# Probabilities


def test_probabilities_of_all_classes(member: Member) -> None:
    batch = pixels(5, 8, 8, 3)
    found = member.predict_proba(batch, batch_size=2)
    assert (str(found.dtype), found.shape) == ("float32", (5, 3))
    assert found.sum(1) == pytest.approx(np.ones(5), abs=1e-6)
    for row, values in zip(member.predict(batch, top=3, batch_size=2), found, strict=True):
        assert row["top"] == [(CLASSES[c], float(values[c])) for c in values.argsort()[::-1]]
    assert member.predict_proba(batch[0]).shape == (1, 3)
    none = member.predict_proba([])
    assert (str(none.dtype), none.shape) == ("float32", (0, 3))


# Streams


def test_an_iterable_is_consumed_batch_by_batch(member: Member) -> None:
    taken: list[int] = []

    def camera() -> Iterator[NDArray[np.uint8]]:
        for number in range(10):
            taken.append(number)
            yield pixels(9, 9, 3, seed=number)

    rows = member.stream(camera(), batch_size=4)
    assert taken == []
    assert [next(rows)["index"] for _ in range(4)] == [0, 1, 2, 3]
    assert taken == [0, 1, 2, 3]
    assert next(rows)["index"] == 4
    assert len(taken) == 8
    assert [row["index"] for row in rows] == [5, 6, 7, 8, 9]


def test_lines_of_standard_input_are_read_batch_by_batch(reader: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.StringIO("ab\nc\nd\ne\n")
    monkeypatch.setattr("sys.stdin", lines)
    rows = reader.stream("-", batch_size=2)
    assert next(rows)["text"] == "ab"
    assert lines.read() == "d\ne\n"


@pytest.mark.parametrize("form", ["folder", "generator"])
def test_no_more_than_two_batches_of_images_are_in_memory(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Images are counted from their reading until they are freed, those that only a later batch needs too."""
    alive, peak, read_all = 0, 0, 0
    original: Callable[[Images, Any], Tensor] = Images._read

    def freed() -> None:
        nonlocal alive
        alive -= 1

    def read(self: Images, sample: Any) -> Tensor:
        nonlocal alive, peak, read_all
        image = original(self, sample)
        alive, read_all = alive + 1, read_all + 1
        peak = max(peak, alive)
        weakref.finalize(image, freed)
        return image

    monkeypatch.setattr(Images, "_read", read)
    for number in range(96):
        Image.fromarray(pixels(9, 9, 3, seed=number)).save(tmp_path / f"{number:02d}.bmp")
    given: Any = tmp_path if form == "folder" else (pixels(9, 9, 3, seed=number) for number in range(96))
    batch_size = 8
    assert sum(1 for _ in member.stream(given, batch_size=batch_size)) == read_all == 96
    assert batch_size <= peak <= 2 * batch_size


# Runs and members


def test_members_and_runs_show_themselves(run: Path, reader: Member) -> None:
    parameters = sum(parameter.numel() for parameter in network().parameters())
    assert repr(Run(run).best) == f"Member('best': resnet8, {parameters:,} parameters, 3 classes, images of 3x8x8)"
    assert repr(reader).endswith("3 classes, texts of up to 16 tokens)")
    assert repr(Run(run)) == f"Run('{run}': dml of resnet8 on photos, hold-out 50.00%)"


def test_listing_runs(tmp_path: Path) -> None:
    import os

    folders = [write_run(tmp_path / "runs" / name) for name in ("b", "deep/a", "c")]
    for time, folder in enumerate(folders):
        os.utime(folder / "result.json", (1000 - time, 1000 - time))
    write_run(folders[0] / "stages" / "teacher")
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "result.json").write_text("of another program")
    listed = sg.list_runs(tmp_path / "runs")
    assert [found.folder for found in listed] == folders[::-1], "finished runs, the newest last"
    assert listed[0].names() == ["best"]
    assert [found.folder.name for found in sg.list_runs(folders[0] / "stages")] == ["teacher"]
    with pytest.raises(UserError, match=r"there is no folder .*nowhere; give the folder that holds your runs"):
        sg.list_runs(tmp_path / "nowhere")
    (folders[1] / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"deep/a/result.json is damaged \(.*; .* finish the run with --resume"):
        sg.list_runs(tmp_path / "runs")


# The command line


def test_the_command_prints_a_line_per_image(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [tmp_path / "photos" / name for name in ("a.png", 'b, "c".png', "ö.png")]
    names[0].parent.mkdir()
    for number, path in enumerate(names):
        Image.fromarray(pixels(9, 9, 3, seed=number)).save(path)
    expected = sg.predict(run, [names[0].parent], top=2)
    assert isinstance(expected, list)
    words = ["predict", str(run), str(names[0].parent)]
    assert cli.main([*words, "--format", "jsonl", "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == json.loads(json.dumps(expected))
    assert "ö.png" in lines[2]
    assert cli.main([*words, "--format", "csv", "--batch-size", "2"]) == 0
    table = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert table[0] == ["path", "label", "probability"]
    assert [row[:2] for row in table[1:]] == [[row["path"], row["label"]] for row in expected]
    assert [float(row[2]) for row in table[1:]] == pytest.approx(probability(expected), abs=1e-5)
    (names[0].parent / "ÿ.png").write_bytes(b"no image")
    assert cli.main([*words, "--format", "csv", "--batch-size", "3"]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 4, "what was computed before the error"
    assert "ÿ.png cannot be read" in captured.err
    assert cli.main([*words, "--format", "jsonl", "--on-error", "skip"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
