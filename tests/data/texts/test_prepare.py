"""Preparing texts and their tokens into the cache: once, streaming, completely or not at all."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from studygroup.data.cache.array_file import ArrayFile
from studygroup.data.prepare import Prepared
from studygroup.data.source import Meter, RawSplit, RawTexts, Row, TextSource
from studygroup.data.texts import store, tokens
from studygroup.data.texts.prepare import TextPreparation
from studygroup.data.texts.store import Texts
from studygroup.data.texts.tokenizers import Bpe, Chars, load_tokenizer, make_tokenizer
from studygroup.data.texts.tokens import sample_texts, tokenize, trained_tokenizer
from studygroup.errors import UserError
from studygroup.options import DataOptions, OnError

ROWS: list[Row] = [("good film", "2"), ("", "10"), ("Ünïcode 日本\n", "2"), ("bad film", "10"), ("half \ud800 pair", "2"), ("end", "10")]
TEST: list[Row] = [("another", "10"), ("", "2")]


class Reviews(TextSource):
    """A source of given rows; `after_row` is called after each."""

    name = "reviews"

    def __init__(
        self,
        train: Iterable[Row] = ROWS,
        test: Iterable[Row] | None = TEST,
        classes: tuple[str, ...] | None = None,
        unreadable: Iterable[str] = (),
        after_row: Callable[[], None] = lambda: None,
        key: str = "1",
    ) -> None:
        super().__init__(None, DataOptions("reviews"))
        self.splits = {"train": train} | ({"test": test} if test is not None else {})
        self.classes, self.unreadable, self.after_row, self.own_key = classes, list(unreadable), after_row, key
        self.read_count = 0

    def key(self) -> str:
        return self.own_key

    def read(self) -> RawTexts:
        self.read_count += 1
        unreadable: list[str] = []
        splits = {}
        for name, rows in self.splits.items():
            meter = Meter()
            splits[name] = RawSplit(self.rows(list(rows) if isinstance(rows, list) else rows, unreadable, meter), 100, meter)
        return RawTexts(self.classes, splits, unreadable)

    def rows(self, rows: Iterable[Row], unreadable: list[str], meter: Meter) -> Iterator[Row]:
        for row in rows:
            meter.count += 1
            yield row
            self.after_row()
        unreadable += self.unreadable
        self.unreadable = []


def stored(source: Reviews, cache: Path, on_error: OnError = "stop", *, progress: bool = False) -> Prepared[Texts]:
    return TextPreparation(source, DataOptions("reviews", cache=cache, on_error=on_error, progress=progress)).prepare()


def entries(cache: Path, category: str = "texts") -> list[str]:
    """Names of the entries of a category of the cache, without lock files."""
    return sorted(path.name for path in (cache / category).glob("*") if path.suffix != ".lock")


def rows_of(found: Prepared[Texts], split: str) -> list[Row]:
    texts = found.splits[split]
    return [(text, found.classes[label]) for text, label in zip(texts.texts(), texts.labels.tolist(), strict=True)]


# ---------------------------------------------------------------- the stored texts


@pytest.mark.parametrize("chunk", [1, 2, 4096])
def test_rows_are_stored_unchanged(cache: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK_ROWS", chunk)
    found = stored(Reviews(), cache)
    assert (found.name, found.classes, found.unreadable) == ("reviews", ("2", "10"), ())
    assert rows_of(found, "train") == [(text.replace("\ud800", "?"), label) for text, label in ROWS]
    assert rows_of(found, "test") == TEST
    train = found.splits["train"]
    assert len(train) == 6
    assert train.labels.dtype == np.int64
    assert train.sizes.tolist() == [len(text.encode("utf-8", "replace")) for text, _ in ROWS]
    assert [train.text(i) for i in (5, 0, 1)] == ["end", "good film", ""]
    for position in (-1, 6):
        with pytest.raises(IndexError):
            train.text(position)
    chosen = np.array([3, 3, 1, 0, 1, 5])
    assert list(train.texts(chosen)) == ["bad film", "bad film", "", "good film", "", "end"]
    assert list(train.texts([])) == []


def test_long_texts_make_smaller_chunks(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK_BYTES", 10)
    assert [len(chunk) for chunk in store.chunked(["a" * 20, "b", "c" * 9, "d", "e"], len)] == [1, 2, 2]
    assert rows_of(stored(Reviews(), cache), "test") == TEST


def test_a_source_is_read_once(cache: Path) -> None:
    source = Reviews()
    first, second = stored(source, cache), stored(source, cache)
    assert source.read_count == 1
    assert first.key == second.key
    assert rows_of(first, "train") == rows_of(second, "train")
    assert stored(Reviews(key="2"), cache).key != first.key
    assert len(entries(cache)) == 2


def test_known_classes_keep_their_order(cache: Path) -> None:
    found = stored(Reviews(test=None, classes=("ten", "10", "2")), cache)
    assert (found.classes, list(found.splits)) == (("ten", "10", "2"), ["train"])
    assert found.splits["train"].labels.tolist() == [2, 1, 2, 1, 2, 1]


def test_empty_texts_only(cache: Path) -> None:
    found = stored(Reviews([("", "a"), ("", "b")], [("", "a")]), cache)
    assert list(found.splits["train"].texts()) == ["", ""]
    assert tokenize(found, Chars(), cache, 8)["train"][np.array([1, 0])].tolist() == [[0], [0]]


def test_an_empty_test_set(cache: Path) -> None:
    found = stored(Reviews(test=[]), cache)
    assert len(found.splits["test"]) == 0
    assert len(tokenize(found, Chars(), cache, 8)["test"]) == 0


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (Reviews([], None), "no texts to learn from"),
        (Reviews([], TEST), "no texts to learn from"),
        (Reviews([("a", "x"), ("b", "x")], None), "reviews has the single class 'x'; at least two"),
        (Reviews([("a", "x")], None, classes=("x",)), "reviews has the single class 'x'; at least two"),
        (Reviews([("a", str(i)) for i in range(1200)], None), "more than 1000 values"),
        (Reviews(test=[("new", "7")]), "'7' is a label in reviews that no training sample has"),
        (Reviews(classes=("2", "3")), "'10' of reviews is none of its classes: 2, 3"),
        (Reviews(classes=("2", "10", "11"), unreadable=["row 3"]), "no text of class '11' of reviews can be read: row 3"),
    ],
)
def test_useless_data_is_refused_and_leaves_nothing(source: Reviews, named: str, cache: Path) -> None:
    with pytest.raises(UserError, match=named):
        stored(source, cache, "skip" if source.unreadable else "stop")
    assert entries(cache) == []


def test_too_many_labels_are_refused_before_all_is_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK_ROWS", 10)
    rows = ((f"text {i}", f"name {i}") for i in range(5000))
    with pytest.raises(UserError, match="more than 1000 values"):
        stored(Reviews(rows, None), cache)
    assert next(rows)[0] == "text 1010"


def test_unreadable_rows_stop_or_are_skipped(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"row {i} of reviews.csv" for i in range(25)]
    with pytest.raises(UserError, match=r"25 texts of reviews cannot be read: row 0 .*row 4 of reviews.csv, …; .*--on-error skip"):
        stored(Reviews(unreadable=names), cache)
    assert entries(cache) == []
    for _ in range(2):  # as it is stored, and as it is opened again
        caplog.clear()
        assert stored(Reviews(unreadable=names), cache, "skip").unreadable == tuple(names)
        assert "skipped 25 texts of reviews" in caplog.text
        assert "row 19 of reviews.csv and more, listed in" in caplog.text
    with pytest.raises(UserError, match="25 texts"):
        stored(Reviews(), cache)


# ---------------------------------------------------------------- the cache


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("crash"), UserError("unreadable")])
def test_an_interruption_leaves_nothing(cache: Path, error: BaseException) -> None:
    def after_row() -> None:
        raise error

    with pytest.raises(type(error)):
        stored(Reviews(after_row=after_row), cache)
    assert entries(cache) == []
    assert rows_of(stored(Reviews(), cache), "test") == TEST


@pytest.mark.parametrize("file", ["meta.json", "train_bytes.npy", "train_ends.npy", "test_labels.npy"])
@pytest.mark.parametrize("how", ["delete", "truncate", "empty"])
def test_a_damaged_entry_is_stored_again(cache: Path, file: str, how: str) -> None:
    stored(Reviews(), cache)
    path = cache / "texts" / entries(cache)[0] / file
    if how == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: -5 if how == "truncate" else 0])
    source = Reviews()
    assert rows_of(stored(source, cache), "test") == TEST
    assert source.read_count == 1


@pytest.mark.parametrize(("number", "named"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "cannot be written")])
def test_a_full_or_read_only_disk(cache: Path, monkeypatch: pytest.MonkeyPatch, number: int, named: str) -> None:
    found = stored(Reviews(), cache)

    def append(self: ArrayFile, chunk: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(ArrayFile, "append", append)
    with pytest.raises(UserError, match=f"{named}.*STUDYGROUP_CACHE"):
        stored(Reviews(key="2"), cache)
    with pytest.raises(UserError, match=f"{named}.*STUDYGROUP_CACHE"):
        tokenize(found, Chars(), cache, 8)
    assert len(entries(cache)) == 1
    assert entries(cache, "tokens") == []


def test_memory_stays_bounded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK_ROWS", 50)
    rows = ((f"{i} " * 500, "ab"[i % 2]) for i in range(4000))
    tracemalloc.start()
    try:
        found = stored(Reviews(rows, None), cache)
        tokenize(found, Chars(), cache, 2000, progress=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6 < found.splits["train"].ends[-1]


def test_progress_bars(cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("COLUMNS", "120")
    found = stored(Reviews(), cache, progress=True)
    tokenize(found, Chars(), cache, 8)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Preparing reviews" in shown.err
    assert "%" in shown.err
    assert "Tokenizing reviews" in shown.err


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize("chunk", [1, 4, 4096])
@pytest.mark.parametrize("length", [1, 5, 100])
def test_tokens_are_those_of_each_truncated_text(cache: Path, chunk: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK_ROWS", chunk)
    found = stored(Reviews(), cache)
    chars = Chars()
    made = tokenize(found, chars, cache, length, progress=False)
    assert list(made) == ["train", "test"]
    for name, ragged in made.items():
        texts = list(found.splits[name].texts())
        expected = [chars.encode([text])[0][:length].tolist() for text in texts]
        assert [ragged[np.array([i])][0][: ragged.lengths[i]].tolist() for i in range(len(ragged))] == expected
        assert ragged.lengths.tolist() == [len(ids) for ids in expected]


class Wide(Chars):
    """Ids beyond 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.vocabulary = 2**16 + 1
        self._ids = np.full(0x110000, 2**16, dtype=np.int64)


def test_dtype_depends_on_the_vocabulary(cache: Path) -> None:
    found = stored(Reviews(), cache)
    assert tokenize(found, Chars(), cache, 9)["train"].tokens.dtype == np.uint16
    wide = tokenize(found, Wide(), cache, 9)["train"]
    assert wide.tokens.dtype == np.int32
    assert wide[np.array([0])].tolist() == [[2**16] * 9]


def test_tokens_are_stored_once_and_again_if_damaged(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stored(Reviews(), cache)
    first = tokenize(found, Chars(), cache, 5)
    assert isinstance(first["train"].tokens.base, np.memmap)
    assert not first["train"].tokens.flags.writeable

    with monkeypatch.context() as patch:
        patch.setattr(Chars, "encode", None)
        again = tokenize(found, Chars(), cache, 5)
    assert np.array_equal(again["train"].tokens, first["train"].tokens)
    assert len(tokenize(found, Chars(), cache, 4)["train"]) == 6
    assert len(entries(cache, "tokens")) == 2
    for name in ("meta.json", "train_tokens.npy", "test_ends.npy"):
        for entry in entries(cache, "tokens"):
            path = cache / "tokens" / entry / name
            path.write_bytes(path.read_bytes()[:-5])
        assert np.array_equal(tokenize(found, Chars(), cache, 5)["train"].tokens, first["train"].tokens)


@pytest.mark.parametrize("length", [0, -3])
def test_a_length_below_one_is_refused(cache: Path, length: int) -> None:
    with pytest.raises(UserError, match=f"max_length is {length}"):
        tokenize(stored(Reviews(), cache), Chars(), cache, length)


# ---------------------------------------------------------------- the vocabulary


def many(n: int = 60) -> list[Row]:
    return [(f"common words and word{chr(97 + i % 26)}{chr(97 + i // 26)} here", "ab"[i % 2]) for i in range(n)]


def test_a_vocabulary_is_trained_on_the_given_texts_only(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = stored(Reviews([*many(), *[("zyzzyva zyzzyva zyzzyva", "a")] * 30], [("zyzzyva", "a")]), cache)
    chosen = np.arange(60)
    assert trained_tokenizer(found, chosen, "chars", cache, vocabulary=330).vocabulary == 72
    assert "vocabulary is 330, but chars has its own, of 72 tokens, which is taken" in caplog.text
    tokenizer = trained_tokenizer(found, chosen, "bpe", cache, vocabulary=330)
    assert isinstance(tokenizer, Bpe)
    assert tokenizer.model == Bpe.train([text for text, _ in many()], vocabulary=330).model
    assert len(tokenizer.encode(["common"])[0]) == 1
    assert len(tokenizer.encode(["zyzzyva"])[0]) > 5, "neither the hold-out nor the test set is used"


def test_the_same_texts_share_a_vocabulary(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stored(Reviews(many(), None), cache)
    first = trained_tokenizer(found, np.arange(50), "bpe", cache, vocabulary=330)
    with monkeypatch.context() as patch:
        patch.setattr(tokens, "make_tokenizer", None)
        again = trained_tokenizer(found, np.arange(50)[::-1], "bpe", cache, vocabulary=330, seed=1)
    assert again.describe() == first.describe()
    trained_tokenizer(found, np.arange(49), "bpe", cache, vocabulary=330)
    trained_tokenizer(found, np.arange(50), "bpe", cache, vocabulary=331)
    assert len(entries(cache, "tokenizers")) == 3
    shutil.rmtree(cache / "tokenizers")
    assert trained_tokenizer(found, np.arange(50), "bpe", cache, vocabulary=330).describe() == first.describe()


def test_a_damaged_vocabulary_is_trained_again(cache: Path) -> None:
    found = stored(Reviews(many(), None), cache)
    first = trained_tokenizer(found, np.arange(60), "bpe", cache, vocabulary=330)
    folder = cache / "tokenizers" / entries(cache, "tokenizers")[0]
    (folder / "bpe.model").write_bytes(b"damaged")
    assert trained_tokenizer(found, np.arange(60), "bpe", cache, vocabulary=330).describe() == first.describe()
    assert load_tokenizer(folder).describe() == first.describe()


def test_a_smaller_vocabulary_is_logged_each_time(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = stored(Reviews(), cache)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            made = trained_tokenizer(found, np.arange(6), "bpe", cache, vocabulary=16000)
        assert made.vocabulary < 400
        assert f"a vocabulary of {made.vocabulary} tokens, not 16000" in caplog.text


def test_characters_need_no_training(cache: Path) -> None:
    made = trained_tokenizer(stored(Reviews(), cache), np.arange(6), "chars", cache)
    assert made.describe() == make_tokenizer("chars", lambda: iter(())).describe()
    assert entries(cache, "tokenizers") == []
    with pytest.raises(UserError, match="unknown tokenizer"):
        trained_tokenizer(stored(Reviews(), cache), np.arange(6), "words", cache)


def test_a_large_set_is_sampled(tmp_path: Path) -> None:
    sizes = np.random.default_rng(0).integers(1, 100, 1000)
    texts = Texts(tmp_path, 0, np.cumsum(sizes), np.zeros(1000, dtype=np.int64))
    positions = np.arange(0, 1000, 2)
    assert np.array_equal(sample_texts(texts, positions[::-1], 0, size=10**6), positions)
    some = sample_texts(texts, positions, 0, size=5000)
    assert 4900 < sizes[some].sum() <= 5000
    assert np.array_equal(some, np.unique(some))
    assert set(some.tolist()) < set(positions.tolist())
    assert np.array_equal(sample_texts(texts, positions, 0, size=5000), some)
    assert not np.array_equal(sample_texts(texts, positions, 1, size=5000), some)
    assert len(sample_texts(texts, positions, 0, size=0)) == 1
