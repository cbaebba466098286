"""Texts -> ids of tokens: byte-pair encoding learned from the training texts, characters, or the tokenizer of a Hugging Face model.

<folder>/tokenizer.json     the kind, its options, and a hash of the file that it needs
<folder>/bpe.model          of `bpe`: SentencePiece's model
<folder>/hf.json            of `hf`: the model's own tokenizer.json
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from studygroup import errors
from studygroup.errors import UserError, one_line

KINDS = ("bpe", "bpe-lower", "chars", "hf:PATH")
BPE = ("bpe", "bpe-lower")
"""The kinds that learn a vocabulary."""
VOCABULARY = 16_000
"""Of BPE, by default: the number that CGL's experiment on IMDB has."""
HF = "hf:"
ABOUT = "tokenizer.json"

Ids = NDArray[np.int64]


class Tokenizer(Protocol):
    """What turns texts into ids.

    Attributes:
        vocabulary: ids are 0 to `vocabulary` - 1.
        pad: the id that stands for no token.
        max_length: number of tokens that a text is cut to unless something else is asked for.
    """

    vocabulary: int
    pad: int
    max_length: int

    def encode(self, texts: Sequence[str], max_length: int | None = None) -> list[Ids]:
        """Texts -> the ids (t,) int64 of each, not padded.

        Args:
            texts: any, also empty ones.
            max_length: cut to at most this number of ids; None for not cut. What the model wants at a text's end is kept.
        """

    def save(self, folder: Path) -> None:
        """Write it into a folder, which is made if it is not there, for `load_tokenizer`."""

    def describe(self) -> dict[str, object]:
        """What it is, of JSON's types: equal for tokenizers that give the same ids."""


def make_tokenizer(kind: str, texts: Callable[[], Iterator[str]], *, vocabulary: int = VOCABULARY) -> Tokenizer:
    """A tokenizer by its kind.

    Args:
        kind: `bpe`, `bpe-lower`, which folds cases, `chars` or `hf:PATH`.
        texts: gives the texts that byte pairs are trained on, all of which are held in memory meanwhile; of the training split only.
        vocabulary: of `bpe`.

    Raises:
        UserError: there is no such kind, or it cannot be had.
    """
    if kind in BPE:
        return Bpe.train(texts(), vocabulary=vocabulary, lower=kind == "bpe-lower")
    if kind == "chars":
        return Chars()
    if kind.startswith(HF):
        return Hf.read(Path(kind.removeprefix(HF)).expanduser())
    raise errors.unknown_name("tokenizer", kind, KINDS)


def load_tokenizer(folder: Path) -> Tokenizer:
    """What was saved in a folder.

    Raises:
        UserError: it is not there, or is damaged.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        kind = about["kind"]
        if kind == "chars":
            return Chars()
        if kind == "bpe":
            return Bpe(_checked(folder / "bpe.model", about))
        if kind == "hf":
            return Hf(_checked(folder / "hf.json", about), pad=int(about["pad"]), max_length=int(about["max_length"]))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the tokenizer in {folder} cannot be read ({one_line(error)}); restore the folder, or train again") from error
    raise UserError(f"the tokenizer in {folder} is of the kind {kind!r}, which this version does not know; update studygroup")


# ---------------------------------------------------------------- byte-pair encoding


class Bpe:
    """Byte-pair encoding (Sennrich et al., ACL 2016, arXiv:1508.07909) by SentencePiece (Kudo & Richardson, 2018, arXiv:1808.06226).

    Text is normalised by NFKC and keeps its case unless it is trained to fold it. 0 is the pad and 1 the unknown token; there is no
    token for a text's begin or end. The vocabulary has the characters that make up 99.95% of the training texts and the 256 bytes: any
    other character is written as the bytes of its UTF-8, so that a text in a script which the training texts do not have is not one
    unknown token after the other. The unknown token is there since SentencePiece wants one, and does not occur.

    Args:
        model: SentencePiece's, as `train` gives it.

    Raises:
        UserError: it is damaged.
    """

    PAD = 0
    UNKNOWN = 1

    def __init__(self, model: bytes) -> None:
        try:
            if not model:  # which SentencePiece takes
                raise ValueError("it is empty")
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"the BPE model is damaged ({one_line(error)}); restore it, or train again") from error
        self.model = model
        self.vocabulary: int = self._processor.get_piece_size()
        self.pad = self.PAD
        self.max_length = 512

    @classmethod
    def train(cls, texts: Iterable[str], *, vocabulary: int = VOCABULARY, lower: bool = False) -> Bpe:
        """Learn the vocabulary. The same texts give the same model, whatever the number of processors.

        Args:
            texts: read once and held in memory; 100 MB take some ten seconds. (`tokens.trained_tokenizer` draws a sample.)
            vocabulary: number of tokens; fewer if the texts have no more.
            lower: whether capital and small letters are the same (SentencePiece's rule `nmt_nfkc_cf`).

        Raises:
            UserError: there is no text to learn from, or the vocabulary has no room for the texts' characters.
        """
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=(_bytes(text) for text in texts),
                model_writer=model,
                model_type="bpe",
                vocab_size=vocabulary,
                hard_vocab_limit=False,
                normalization_rule_name="nmt_nfkc_cf" if lower else "nmt_nfkc",
                pad_id=cls.PAD,
                unk_id=cls.UNKNOWN,
                bos_id=-1,
                eos_id=-1,
                byte_fallback=True,
                character_coverage=0.9995,
                max_sentence_length=2**30,  # longer ones would be left out: reviews have more than the default 4192 bytes
                num_threads=16,  # written in the model, which must not depend on the machine; it has no say in the vocabulary
                minloglevel=2,  # errors only
            )
        except RuntimeError as error:
            if "sentences_.empty()" in str(error):
                raise UserError("there is no text to learn a vocabulary from, all are empty; check the text column") from error
            if found := re.search(r"(\d+) vs (\d+)", str(error)):
                raise UserError(f"vocabulary is {vocabulary}, but bytes and characters alone are {found[2]}; give more") from error
            raise UserError(f"no vocabulary of {vocabulary} tokens can be learned ({one_line(error)}); give another number") from error
        return cls(model.getvalue())

    def encode(self, texts: Sequence[str], max_length: int | None = None) -> list[Ids]:
        """See `Tokenizer`."""
        encoded = self._processor.encode([_bytes(text) for text in texts], out_type=int)  # in threads
        return [np.array(ids[:max_length], dtype=np.int64) for ids in encoded]

    def save(self, folder: Path) -> None:
        """See `Tokenizer`."""
        _save(folder, self.describe(), {"bpe.model": self.model})

    def describe(self) -> dict[str, object]:
        """See `Tokenizer`."""
        return {"kind": "bpe", "vocabulary": self.vocabulary, "hash": _hash(self.model)}


# ---------------------------------------------------------------- characters


class Chars:
    """One id per character, of 72: the pad 0, the unknown character 1, the space 2, then 69 symbols.

    The symbols are those of Zhang et al. (NeurIPS 2015, arXiv:1509.01626), whose list of 70 has the hyphen twice: 26 letters, 10 digits,
    32 punctuation marks and the new line. Letters are lower-cased; whatever else separates words (a tab, a no-break space) is a space.
    """

    PAD = 0
    UNKNOWN = 1
    SPACE = 2
    SYMBOLS = string.ascii_lowercase + string.digits + string.punctuation + "\n"

    def __init__(self) -> None:
        self.vocabulary = 3 + len(self.SYMBOLS)
        self.pad = self.PAD
        self.max_length = 1024
        self._ids = np.full(0x110000, self.UNKNOWN, dtype=np.uint8)  # by code point
        self._ids[[code for code in range(0x3001) if chr(code).isspace()]] = self.SPACE  # there are none beyond
        self._ids[[ord(symbol) for symbol in self.SYMBOLS]] = range(3, self.vocabulary)

    def encode(self, texts: Sequence[str], max_length: int | None = None) -> list[Ids]:
        """See `Tokenizer`."""
        lower = [text[:max_length].lower()[:max_length] for text in texts]  # lower case may be longer, never shorter
        codes = np.frombuffer("".join(lower).encode("utf-32-le", "surrogatepass"), dtype="<u4")
        ends = np.cumsum([len(text) for text in lower], dtype=np.int64)
        return np.split(self._ids[codes].astype(np.int64), ends[:-1]) if lower else []

    def save(self, folder: Path) -> None:
        """See `Tokenizer`."""
        _save(folder, self.describe(), {})

    def describe(self) -> dict[str, object]:
        """See `Tokenizer`."""
        return {"kind": "chars", "vocabulary": self.vocabulary}


# ---------------------------------------------------------------- Hugging Face


class Hf:
    """The tokenizer of a Hugging Face model: whatever its `tokenizer.json` says, by the package `tokenizers`; no code of the model is run.

    The model's own tokens for a text's begin and end are added, also to a text that is cut.

    Args:
        model: the content of its `tokenizer.json`.
        pad: the id of its pad.
        max_length: number of tokens, with the model's own, that a text is cut to by default.

    Raises:
        UserError: `tokenizers` is not installed, or cannot read it.
    """

    def __init__(self, model: bytes, *, pad: int, max_length: int) -> None:
        try:
            tokenizers = importlib.import_module("tokenizers")
        except ImportError as error:
            raise UserError("the tokenizer of a Hugging Face model needs transformers; pip install 'studygroup[transformers]'") from error
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_str(model.decode("utf-8"))
        except Exception as error:  # it has no other class of errors
            raise UserError(f"the tokenizer.json of the Hugging Face model cannot be read ({one_line(error)}); restore it") from error
        self._tokenizer.no_padding()
        self.model = model
        self.vocabulary: int = self._tokenizer.get_vocab_size()
        self.pad = pad
        self.max_length = max_length
        if not 0 <= pad < self.vocabulary:
            raise UserError(f"pad_token_id of the Hugging Face model is {pad}, but it has {self.vocabulary} tokens; correct config.json")

    @classmethod
    def read(cls, folder: Path) -> Hf:
        """The tokenizer of the model in a local folder: `tokenizer.json`, with `config.json` and `tokenizer_config.json` if they are there.

        Raises:
            UserError: it is not there, is damaged, or has no pad.
        """
        try:
            model = (folder / "tokenizer.json").read_bytes()
        except OSError as error:
            raise UserError(
                f"{folder} has no tokenizer.json that can be read ({error.strerror}); "
                "give the folder that the model and its fast tokenizer were saved to by save_pretrained"
            ) from error
        config, options = _settings(folder / "config.json"), _settings(folder / "tokenizer_config.json")
        tokenizer = cls(model, pad=0, max_length=512)
        pad = config.get("pad_token_id")  # first, as the network's mask is made by it
        if pad is None:
            token = options.get("pad_token")
            pad = tokenizer._tokenizer.token_to_id(token["content"] if isinstance(token, dict) else str(token))
        if not isinstance(pad, int):
            raise UserError(f"the model in {folder} has no pad; say which token it is by pad_token_id in config.json")
        limits = (options.get("model_max_length"), config.get("max_position_embeddings"))
        return cls(model, pad=pad, max_length=min([512, *(int(limit) for limit in limits if isinstance(limit, int | float) and limit > 0)]))

    def encode(self, texts: Sequence[str], max_length: int | None = None) -> list[Ids]:
        """See `Tokenizer`.

        Raises:
            UserError: the model's own tokens have no room in `max_length`.
        """
        if max_length is None:
            self._tokenizer.no_truncation()
        elif max_length < (own := self._tokenizer.num_special_tokens_to_add(False)):
            raise UserError(f"max_length is {max_length}, but the model adds {own} tokens of its own to a text; give more")
        else:
            self._tokenizer.enable_truncation(max_length)
        return [np.array(found.ids, dtype=np.int64) for found in self._tokenizer.encode_batch([_bytes(text).decode() for text in texts])]

    def save(self, folder: Path) -> None:
        """See `Tokenizer`."""
        _save(folder, self.describe(), {"hf.json": self.model})

    def describe(self) -> dict[str, object]:
        """See `Tokenizer`."""
        return {"kind": "hf", "vocabulary": self.vocabulary, "pad": self.pad, "max_length": self.max_length, "hash": _hash(self.model)}


# ---------------------------------------------------------------- files


def _bytes(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which has none, is a question mark."""
    return text.encode("utf-8", "replace")


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _save(folder: Path, about: Mapping[str, object], files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _checked(path: Path, about: Mapping[str, object]) -> bytes:
    """The content of a file, if it is still what was saved."""
    content = path.read_bytes()
    if _hash(content) != about["hash"]:
        raise ValueError(f"{path.name} is not the file that was saved")
    return content


def _settings(path: Path) -> dict[str, Any]:
    """What a file of a Hugging Face model says; nothing if it is not there.

    Raises:
        UserError: it is not what it should be.
    """
    try:
        return cast("dict[str, Any]", dict(json.loads(path.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({one_line(error)}); restore it") from error
