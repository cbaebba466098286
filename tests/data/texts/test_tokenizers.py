"""Tokenizers: golden ids, against SentencePiece itself, saved and loaded, damaged."""

from __future__ import annotations

import hashlib
import importlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from studygroup.data.texts.tokenizers import Bpe, Chars, Hf, load_tokenizer, make_tokenizer
from studygroup.data.tokenizer import Tokenizer
from studygroup.errors import UserError

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "log", "Mouse", "and-so", "film,", "good", "bad", "not", "10/10", "naïve"]


def corpus(n: int = 300, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) for _ in range(n)]


@pytest.fixture(scope="module")
def bpe() -> Bpe:
    return Bpe.train(corpus(), vocabulary=320)


def lists(found: list[np.ndarray]) -> list[list[int]]:
    assert all(ids.dtype == np.int64 and ids.ndim == 1 for ids in found)
    return [ids.tolist() for ids in found]


# ---------------------------------------------------------------- byte-pair encoding


@given(texts=st.lists(st.text(max_size=30), max_size=4), cut=st.one_of(st.none(), st.integers(1, 6)))
def test_a_batch_of_texts_equals_single_texts(bpe: Bpe, texts: list[str], cut: int | None) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_proto=bpe.model)
    assert lists(bpe.encode(texts, cut)) == [reference.encode(text)[:cut] for text in texts]
    assert all(bpe.pad not in ids and bpe.UNKNOWN not in ids for ids in bpe.encode(texts))


def test_special_ids_and_truncation(bpe: Bpe) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_proto=bpe.model)
    assert (bpe.pad, bpe.vocabulary, bpe.max_length) == (0, 320, 512)
    assert (reference.pad_id(), reference.unk_id(), reference.bos_id(), reference.eos_id()) == (0, 1, -1, -1)
    assert lists(bpe.encode([])) == []
    assert lists(bpe.encode(["", " \n"])) == [[], []]
    (ids,) = lists(bpe.encode(["the cat"]))
    assert reference.decode(ids) == "the cat"
    assert lists(bpe.encode(["the cat", "", "cat"], max_length=1)) == [ids[:1], [], ids[-1:]]


@pytest.mark.parametrize("text", ["日本語の文章", "Привет", "😀", "half\ud800"])
def test_unseen_characters_are_bytes(bpe: Bpe, text: str) -> None:
    (ids,) = bpe.encode([text])
    assert len(ids) > 1
    assert bpe.UNKNOWN not in ids
    reference = sentencepiece.SentencePieceProcessor(model_proto=bpe.model)
    assert reference.decode(ids.tolist()) == text.replace("\ud800", "?")


def test_training_is_deterministic(bpe: Bpe) -> None:
    assert Bpe.train(iter(corpus()), vocabulary=320).model == bpe.model
    assert Bpe.train(corpus(seed=1), vocabulary=320).describe() != bpe.describe()


def test_long_texts_are_used() -> None:
    long = " ".join(["xylophone"] * 2000)  # 20 kB: SentencePiece would leave it out
    (ids,) = Bpe.train([*corpus(), long], vocabulary=400).encode(["xylophone"])
    assert len(ids) == 1


def test_a_small_corpus_gives_a_small_vocabulary() -> None:
    few = Bpe.train(["the cat sat"], vocabulary=16_000)
    assert 256 < few.vocabulary < 300
    assert few.encode(["the cat sat"])[0].max() < few.vocabulary


@pytest.mark.parametrize(
    ("texts", "vocabulary", "named"),
    [
        ([], 500, "no text"),
        (["", ""], 500, "no text"),
        (corpus(), 100, r"vocabulary is 100, but.*\d{3}; give more"),
        (corpus(), 0, "vocabulary"),
    ],
)
def test_impossible_vocabularies_are_refused(texts: list[str], vocabulary: int, named: str) -> None:
    with pytest.raises(UserError, match=named):
        Bpe.train(texts, vocabulary=vocabulary)


# ---------------------------------------------------------------- characters


def test_characters_one_by_one() -> None:
    chars = Chars()
    assert (chars.vocabulary, chars.pad, chars.max_length) == (72, 0, 1024)
    assert len(set(chars.SYMBOLS)) == 69
    assert sorted({*"abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{}\n"}) == sorted(chars.SYMBOLS)
    assert lists(chars.encode(["aZ9", "", "é 日\t\u00a0", "\n}", "half\ud800"])) == [
        [3, 28, 38],
        [],
        [1, 2, 1, 2, 2],
        [71, 69],
        [10, 3, 14, 8, 1],
    ]
    assert lists(chars.encode([])) == []
    assert sorted(np.concatenate(chars.encode([chars.SYMBOLS + " é"])).tolist()) == list(range(1, 72)), "all but the pad"


@given(texts=st.lists(st.text(max_size=12), max_size=4), cut=st.one_of(st.none(), st.integers(1, 6)))
def test_characters_equal_a_loop(texts: list[str], cut: int | None) -> None:
    def number(symbol: str) -> int:
        if symbol in Chars.SYMBOLS:
            return 3 + Chars.SYMBOLS.index(symbol)
        return Chars.SPACE if symbol.isspace() else Chars.UNKNOWN

    assert lists(Chars().encode(texts, cut)) == [[number(symbol) for symbol in text.lower()][:cut] for text in texts]


# ---------------------------------------------------------------- Hugging Face


@pytest.fixture
def tokenizers() -> Any:
    return pytest.importorskip("tokenizers")


@pytest.fixture
def hf_folder(tokenizers: Any, tmp_path: Path) -> Callable[..., Path]:
    """A folder as `save_pretrained` leaves it: words, between [CLS] and [SEP]; padding and truncation are on, as they may be."""

    def make(config: dict[str, Any] | None = None, options: dict[str, Any] | None = None) -> Path:
        names = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "the", "cat", "sat"]
        made = tokenizers.Tokenizer(tokenizers.models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
        made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
        made.enable_padding(pad_id=3, length=10)
        made.enable_truncation(3)
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        made.save(str(folder / "tokenizer.json"))
        (folder / "config.json").write_text(json.dumps({"pad_token_id": 3} if config is None else config))
        if options is not None:
            (folder / "tokenizer_config.json").write_text(json.dumps(options))
        return folder

    return make


def test_tokenizer_of_a_model(hf_folder: Callable[..., Path], tmp_path: Path) -> None:
    made = make_tokenizer(f"hf:{hf_folder()}", lambda: iter(()))
    assert (made.vocabulary, made.pad, made.max_length) == (7, 3, 512)
    texts = ["the cat sat", "", "dog", "half\ud800"]
    expected = [[1, 4, 5, 6, 2], [1, 2], [1, 0, 2], [1, 0, 0, 2]]
    assert lists(made.encode(texts)) == expected
    assert lists(made.encode(["the cat sat", "the"], max_length=3)) == [[1, 4, 2], [1, 4, 2]], "its own last token is kept"
    assert lists(made.encode(texts)) == expected, "nothing is left of the cut"
    made.save(tmp_path / "saved")
    loaded = load_tokenizer(tmp_path / "saved")
    assert lists(loaded.encode(texts)) == expected
    assert loaded.describe() == made.describe()
    assert (loaded.pad, loaded.max_length) == (3, 512)
    with pytest.raises(UserError, match="max_length is 1, but the model adds 2 special tokens"):
        made.encode(["the"], max_length=1)


@pytest.mark.parametrize(
    ("config", "options", "pad", "length"),
    [
        ({"pad_token_id": 3, "max_position_embeddings": 40}, {"model_max_length": 1e30}, 3, 40),
        ({}, {"pad_token": "[PAD]", "model_max_length": 128}, 3, 128),
        ({"pad_token_id": None}, {"pad_token": {"content": "[SEP]"}}, 2, 512),
    ],
)
def test_sources_of_padding_and_length(
    hf_folder: Callable[..., Path], config: dict[str, Any], options: dict[str, Any], pad: int, length: int
) -> None:
    made = Hf.read(hf_folder(config, options))
    assert (made.pad, made.max_length) == (pad, length)


@pytest.mark.parametrize(
    ("config", "options", "named"),
    [
        ({}, None, "has no padding token; set pad_token_id"),
        ({}, {"pad_token": None}, "has no padding token"),
        ({}, {"pad_token": "<unheard>"}, "has no padding token"),
        ({"pad_token_id": 7}, None, "pad_token_id.* is 7, but it has 7 tokens"),
    ],
)
def test_a_model_without_padding_is_refused(
    hf_folder: Callable[..., Path], config: dict[str, Any], options: dict[str, Any] | None, named: str
) -> None:
    with pytest.raises(UserError, match=named):
        Hf.read(hf_folder(config, options))


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_damaged_json_is_named(hf_folder: Callable[..., Path], name: str) -> None:
    folder = hf_folder()
    (folder / name).write_text('{"a')
    with pytest.raises(UserError, match=rf"{name}.* cannot be read"):
        Hf.read(folder)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer\.json.*save_pretrained"):
        make_tokenizer(f"hf:{tmp_path}", lambda: iter(()))


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise ImportError(name)

    model = b"{}"
    about = {"kind": "hf", "pad": 0, "max_length": 8, "hash": hashlib.blake2b(model, digest_size=16).hexdigest()}
    for name in ("tokenizer.json", "saved/hf.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(model)
    (tmp_path / "saved" / "tokenizer.json").write_text(json.dumps(about))
    monkeypatch.setattr(importlib, "import_module", missing)
    message = r"^the tokenizer of .*pip install 'studygroup\[transformers\]'$"
    with pytest.raises(UserError, match=message):
        Hf.read(tmp_path)
    with pytest.raises(UserError, match=message):
        load_tokenizer(tmp_path / "saved")


# ---------------------------------------------------------------- saved and loaded


@pytest.mark.parametrize("kind", ["bpe", "chars"])
def test_saved_and_loaded(kind: str, bpe: Bpe, tmp_path: Path) -> None:
    made: Tokenizer = bpe if kind == "bpe" else make_tokenizer("chars", lambda: iter(()))
    made.save(tmp_path / "run" / "tokenizer")
    loaded = load_tokenizer(tmp_path / "run" / "tokenizer")
    assert loaded.describe() == made.describe() == json.loads(json.dumps(made.describe()))
    assert (loaded.vocabulary, loaded.pad, loaded.max_length) == (made.vocabulary, made.pad, made.max_length)
    texts = ["the Cat", "", "日本"]
    assert lists(loaded.encode(texts)) == lists(made.encode(texts))


def test_a_vocabulary_is_trained_on_the_given_texts() -> None:
    made = make_tokenizer("bpe", lambda: iter(corpus()), vocabulary=310)
    assert (made.vocabulary, made.describe()["kind"]) == (310, "bpe")


@pytest.mark.parametrize("name", ["tokenizer.json", "bpe.model"])
@pytest.mark.parametrize("how", ["delete", "truncate", "empty", "change"])
def test_damaged_files_are_named(name: str, how: str, bpe: Bpe, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    if how == "delete":
        path.unlink()
    else:
        path.write_bytes({"truncate": content[:-9], "empty": b"", "change": content.replace(b"a", b"b")}[how])
    with pytest.raises(UserError, match=r"cannot be read.*restore the folder"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"kind": "bpe"}', '{"kind": "hf"}', "3"])
def test_invalid_descriptions_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_a_newer_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"kind": "wavelets"}')
    with pytest.raises(UserError, match="'wavelets', which this version does not know"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("model", [b"", b"no model"])
def test_invalid_models_are_refused(model: bytes) -> None:
    with pytest.raises(UserError, match="damaged"):
        Bpe(model)


def test_case_is_folded_on_request(tmp_path: Path) -> None:
    texts = ["The SHIP sails, the ship is old", "\u00c4pfel und \u00e4pfel"] * 20
    kept, folded = (make_tokenizer(kind, lambda: iter(texts), vocabulary=340) for kind in ("bpe", "bpe-lower"))
    assert kept.describe() != folded.describe()
    pairs = [("THE SHIP", "the ship"), ("\u00c4PFEL", "\u00e4pfel")]
    for upper, lower in pairs:
        assert kept.encode([upper])[0].tolist() != kept.encode([lower])[0].tolist()
        assert folded.encode([upper])[0].tolist() == folded.encode([lower])[0].tolist()
    folded.save(tmp_path)
    assert load_tokenizer(tmp_path).encode(["THE SHIP"])[0].tolist() == folded.encode(["the ship"])[0].tolist()


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown tokenizer 'bp'.*bpe"):
        make_tokenizer("bp", lambda: iter(()))
