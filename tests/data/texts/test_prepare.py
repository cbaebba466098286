"""Texts in the cache, and their tokens: stored once, streaming, whole or not at all."""

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
from studygroup.data.source import OnError
from studygroup.data.texts import store as text_store
from studygroup.data.texts import tokens
from studygroup.data.texts.source import RawTexts, RawTextSplit, Row
from studygroup.data.texts.store import Texts, TextStore
from studygroup.data.texts.tokenizers import Bpe, Chars, load_tokenizer, make_tokenizer
from studygroup.data.texts.tokens import sample, tokenise, trained_tokenizer
from studygroup.errors import UserError

ROWS: list[Row] = [("good film", "2"), ("", "10"), ("Ünïcode 日本\n", "2"), ("bad film", "10"), ("half \ud800 pair", "2"), ("end", "10")]
TEST: list[Row] = [("another", "10"), ("", "2")]


class Reviews:
    """A source of given rows."""

    name = "reviews"

    def __init__(
        self,
        train: Iterable[Row] = ROWS,
        test: Iterable[Row] | None = TEST,
        classes: tuple[str, ...] | None = None,
        broken: Iterable[str] = (),
        meanwhile: Callable[[], None] = lambda: None,
        key: str = "1",
    ) -> None:
        self.splits = {"train": train} | ({"test": test} if test is not None else {})
        self.classes, self.broken, self.meanwhile, self.own_key = classes, list(broken), meanwhile, key
        self.read_count = 0

    def key(self) -> str:
        return self.own_key

    def read(self) -> RawTexts:
        self.read_count += 1
        found: list[str] = []
        parts = {}
        for name, rows in self.splits.items():
            rows = list(rows) if isinstance(rows, list) else rows
            counted: list[int] = []
            parts[name] = RawTextSplit(self.rows(rows, found, counted), 100, lambda counted=counted: len(counted))  # type: ignore[misc]
        return RawTexts(self.classes, parts, found)

    def rows(self, rows: Iterable[Row], found: list[str], counted: list[int]) -> Iterator[Row]:
        for row in rows:
            counted.append(1)
            yield row
            self.meanwhile()
        found += self.broken
        self.broken = []


def stored(source: Reviews, cache: Path, broken: OnError = "stop") -> TextStore:
    return text_store.store(source, cache, on_error=broken, progress=False)


def rest(cache: Path, category: str = "texts") -> list[str]:
    """What is on a shelf of the cache but locks."""
    return sorted(path.name for path in (cache / category).glob("*") if path.suffix != ".lock")


def rows_of(found: TextStore, split: str) -> list[Row]:
    texts = found.splits[split]
    return [(text, found.classes[label]) for text, label in zip(texts.texts(), texts.labels.tolist(), strict=True)]


# ---------------------------------------------------------------- what is stored


@pytest.mark.parametrize("chunk", [1, 2, 4096])
def test_rows_come_back_as_they_were(cache: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_store, "CHUNK_ROWS", chunk)
    found = stored(Reviews(), cache)
    assert (found.name, found.classes, found.broken) == ("reviews", ("2", "10"), ())
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


def test_long_texts_are_written_before_many_are_together(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_store, "CHUNK_BYTES", 10)
    assert [len(chunk) for chunk in text_store.chunks(["a" * 20, "b", "c" * 9, "d", "e"], len)] == [1, 2, 2]
    assert rows_of(stored(Reviews(), cache), "test") == TEST


def test_a_source_is_read_once(cache: Path) -> None:
    source = Reviews()
    first, second = stored(source, cache), stored(source, cache)
    assert source.read_count == 1
    assert first.key == second.key
    assert rows_of(first, "train") == rows_of(second, "train")
    assert stored(Reviews(key="2"), cache).key != first.key
    assert len(rest(cache)) == 2


def test_classes_that_are_known_keep_their_order(cache: Path) -> None:
    found = stored(Reviews(test=None, classes=("ten", "10", "2")), cache)
    assert (found.classes, list(found.splits)) == (("ten", "10", "2"), ["train"])
    assert found.splits["train"].labels.tolist() == [2, 1, 2, 1, 2, 1]


def test_empty_texts_only(cache: Path) -> None:
    found = stored(Reviews([("", "a"), ("", "b")], [("", "a")]), cache)
    assert list(found.splits["train"].texts()) == ["", ""]
    assert tokenise(found, Chars(), cache, 8)["train"][np.array([1, 0])].tolist() == [[0], [0]]


def test_an_empty_test_set(cache: Path) -> None:
    found = stored(Reviews(test=[]), cache)
    assert len(found.splits["test"]) == 0
    assert len(tokenise(found, Chars(), cache, 8)["test"]) == 0


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (Reviews([], None), "no texts to learn from"),
        (Reviews([], TEST), "no texts to learn from"),
        (Reviews([("a", "x"), ("b", "x")], None), "at least two classes"),
        (Reviews([("a", "x")], None, classes=("x",)), "1 class; at least two"),
        (Reviews([("a", str(i)) for i in range(1200)], None), "more than 1000 values"),
        (Reviews(test=[("new", "7")]), "'7' is a label of the test set of reviews, but not of its training set"),
        (Reviews(classes=("2", "3")), "'10' of reviews is none of its classes: 2, 3"),
        (Reviews(classes=("2", "10", "11"), broken=["row 3"]), "no text of class '11' of reviews can be read: row 3"),
    ],
)
def test_what_cannot_be_learned_is_refused_and_leaves_nothing(source: Reviews, named: str, cache: Path) -> None:
    with pytest.raises(UserError, match=named):
        stored(source, cache, "skip" if source.broken else "stop")
    assert rest(cache) == []


def test_a_column_that_is_no_label_is_refused_before_all_is_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_store, "CHUNK_ROWS", 10)
    rows = ((f"text {i}", f"name {i}") for i in range(5000))
    with pytest.raises(UserError, match="more than 1000 values"):
        stored(Reviews(rows, None), cache)
    assert next(rows)[0] == "text 1010"


def test_broken_rows_stop_or_are_skipped(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"row {i} of reviews.csv" for i in range(25)]
    with pytest.raises(UserError, match=r"25 texts of reviews cannot be read: row 0 .*row 4 of reviews.csv, …; .*--on-error skip"):
        stored(Reviews(broken=names), cache)
    assert rest(cache) == []
    for _ in range(2):  # as it is stored, and as it is opened again
        caplog.clear()
        assert stored(Reviews(broken=names), cache, "skip").broken == tuple(names)
        assert "skipped 25 texts of reviews" in caplog.text
        assert "row 19 of reviews.csv and more, listed in" in caplog.text
    with pytest.raises(UserError, match="25 texts"):
        stored(Reviews(), cache)


# ---------------------------------------------------------------- the cache


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("crash"), UserError("broken")])
def test_an_interruption_leaves_nothing(cache: Path, error: BaseException) -> None:
    def meanwhile() -> None:
        raise error

    with pytest.raises(type(error)):
        stored(Reviews(meanwhile=meanwhile), cache)
    assert rest(cache) == []
    assert rows_of(stored(Reviews(), cache), "test") == TEST


@pytest.mark.parametrize("damage", ["meta.json", "train_bytes.npy", "train_ends.npy", "test_labels.npy"])
@pytest.mark.parametrize("how", ["delete", "truncate", "empty"])
def test_what_is_damaged_is_stored_again(cache: Path, damage: str, how: str) -> None:
    stored(Reviews(), cache)
    path = cache / "texts" / rest(cache)[0] / damage
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
        tokenise(found, Chars(), cache, 8)
    assert len(rest(cache)) == 1
    assert rest(cache, "tokens") == []


def test_memory_stays_bounded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_store, "CHUNK_ROWS", 50)
    rows = ((f"{i} " * 500, "ab"[i % 2]) for i in range(4000))
    tracemalloc.start()
    try:
        found = stored(Reviews(rows, None), cache)
        tokenise(found, Chars(), cache, 2000, progress=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6 < found.splits["train"].ends[-1]


def test_progress_bars(cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("COLUMNS", "120")
    found = text_store.store(Reviews(), cache)
    tokenise(found, Chars(), cache, 8)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Preparing reviews" in shown.err
    assert "%" in shown.err
    assert "Tokenising reviews" in shown.err


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize("chunk", [1, 4, 4096])
@pytest.mark.parametrize("length", [1, 5, 100])
def test_tokens_are_those_of_each_text_cut(cache: Path, chunk: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_store, "CHUNK_ROWS", chunk)
    found = stored(Reviews(), cache)
    chars = Chars()
    made = tokenise(found, chars, cache, length, progress=False)
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


def test_files_are_as_small_as_the_vocabulary_lets_them_be(cache: Path) -> None:
    found = stored(Reviews(), cache)
    assert tokenise(found, Chars(), cache, 9)["train"].tokens.dtype == np.uint16
    wide = tokenise(found, Wide(), cache, 9)["train"]
    assert wide.tokens.dtype == np.int32
    assert wide[np.array([0])].tolist() == [[2**16] * 9]


def test_tokens_are_made_once_and_again_if_damaged(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stored(Reviews(), cache)
    first = tokenise(found, Chars(), cache, 5)
    assert isinstance(first["train"].tokens.base, np.memmap)
    assert not first["train"].tokens.flags.writeable

    with monkeypatch.context() as patch:
        patch.setattr(Chars, "encode", None)
        again = tokenise(found, Chars(), cache, 5)
    assert np.array_equal(again["train"].tokens, first["train"].tokens)
    assert len(tokenise(found, Chars(), cache, 4)["train"]) == 6
    assert len(rest(cache, "tokens")) == 2
    for name in ("meta.json", "train_tokens.npy", "test_ends.npy"):
        for folder in rest(cache, "tokens"):
            path = cache / "tokens" / folder / name
            path.write_bytes(path.read_bytes()[:-5])
        assert np.array_equal(tokenise(found, Chars(), cache, 5)["train"].tokens, first["train"].tokens)


@pytest.mark.parametrize("length", [0, -3])
def test_a_length_of_nothing_is_refused(cache: Path, length: int) -> None:
    with pytest.raises(UserError, match=f"max_length is {length}"):
        tokenise(stored(Reviews(), cache), Chars(), cache, length)


# ---------------------------------------------------------------- the vocabulary


def many(n: int = 60) -> list[Row]:
    return [(f"common words and word{chr(97 + i % 26)}{chr(97 + i // 26)} here", "ab"[i % 2]) for i in range(n)]


def test_a_vocabulary_is_learned_from_the_given_texts_alone(cache: Path) -> None:
    found = stored(Reviews([*many(), *[("zyzzyva zyzzyva zyzzyva", "a")] * 30], [("zyzzyva", "a")]), cache)
    chosen = np.arange(60)
    tokenizer = trained_tokenizer(found, chosen, "bpe", cache, vocabulary=330)
    assert isinstance(tokenizer, Bpe)
    assert tokenizer.model == Bpe.train([text for text, _ in many()], vocabulary=330).model
    assert len(tokenizer.encode(["common"])[0]) == 1
    assert len(tokenizer.encode(["zyzzyva"])[0]) > 5, "neither the hold-out nor the test set is learned from"


def test_runs_on_the_same_texts_share_a_vocabulary(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stored(Reviews(many(), None), cache)
    first = trained_tokenizer(found, np.arange(50), "bpe", cache, vocabulary=330)
    with monkeypatch.context() as patch:
        patch.setattr(tokens, "make_tokenizer", None)
        again = trained_tokenizer(found, np.arange(50)[::-1], "bpe", cache, vocabulary=330, seed=1)
    assert again.describe() == first.describe()
    trained_tokenizer(found, np.arange(49), "bpe", cache, vocabulary=330)
    trained_tokenizer(found, np.arange(50), "bpe", cache, vocabulary=331)
    assert len(rest(cache, "tokenizers")) == 3
    shutil.rmtree(cache / "tokenizers")
    assert trained_tokenizer(found, np.arange(50), "bpe", cache, vocabulary=330).describe() == first.describe()


def test_a_damaged_vocabulary_is_learned_again(cache: Path) -> None:
    found = stored(Reviews(many(), None), cache)
    first = trained_tokenizer(found, np.arange(60), "bpe", cache, vocabulary=330)
    home = cache / "tokenizers" / rest(cache, "tokenizers")[0]
    (home / "bpe.model").write_bytes(b"damaged")
    assert trained_tokenizer(found, np.arange(60), "bpe", cache, vocabulary=330).describe() == first.describe()
    assert load_tokenizer(home).describe() == first.describe()


def test_a_vocabulary_that_the_texts_do_not_fill_is_told_each_time(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = stored(Reviews(), cache)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            made = trained_tokenizer(found, np.arange(6), "bpe", cache)
        assert made.vocabulary < 400
        assert f"a vocabulary of {made.vocabulary} tokens, not 16000" in caplog.text


def test_characters_learn_nothing(cache: Path) -> None:
    made = trained_tokenizer(stored(Reviews(), cache), np.arange(6), "chars", cache)
    assert made.describe() == make_tokenizer("chars", lambda: iter(())).describe()
    assert rest(cache, "tokenizers") == []
    with pytest.raises(UserError, match="unknown tokenizer"):
        trained_tokenizer(stored(Reviews(), cache), np.arange(6), "words", cache)


def test_a_large_set_is_sampled(tmp_path: Path) -> None:
    sizes = np.random.default_rng(0).integers(1, 100, 1000)
    texts = Texts(tmp_path, 0, np.cumsum(sizes), np.zeros(1000, dtype=np.int64))
    positions = np.arange(0, 1000, 2)
    assert np.array_equal(sample(texts, positions[::-1], 0, size=10**6), positions)
    some = sample(texts, positions, 0, size=5000)
    assert 4900 < sizes[some].sum() <= 5000
    assert np.array_equal(some, np.unique(some))
    assert set(some.tolist()) < set(positions.tolist())
    assert np.array_equal(sample(texts, positions, 0, size=5000), some)
    assert not np.array_equal(sample(texts, positions, 1, size=5000), some)
    assert len(sample(texts, positions, 0, size=0)) == 1
