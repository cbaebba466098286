"""Tokenizers: byte-pair encoding trained on the training texts, characters, or the tokenizer of a Hugging Face model.

<folder>/tokenizer.json     kind, options, and a hash of the model file
<folder>/bpe.model          for `bpe`: SentencePiece's model
<folder>/hf.json            for `hf`: the tokenizer.json of the model
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import re
import string
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import sentencepiece

from studygroup import errors
from studygroup.atomic import write_atomically
from studygroup.data.texts.vocabulary import supported_merges
from studygroup.data.tokenizer import Ids, Tokenizer
from studygroup.errors import UserError, one_line
from studygroup.regular import read_regular, read_regular_text

KINDS = ("bpe", "bpe-lower", "chars", "hf:PATH")
BPE = ("bpe", "bpe-lower")
"""Kinds whose vocabulary is trained."""
VOCABULARY = 16_000
"""Largest vocabulary size of BPE that is chosen: that of CGL's experiment on IMDB."""
HF = "hf:"
DESCRIPTION = "tokenizer.json"


def make_tokenizer(kind: str, texts: Callable[[], Iterator[str]], *, vocabulary: int | None = None) -> Tokenizer:
    """Create a tokenizer; train it if its vocabulary is trained.

    Args:
        kind: `bpe`, `bpe-lower`, which folds case, `chars` or `hf:PATH`.
        texts: returns the texts to train `bpe` on, from the training set only; all are held in memory during the training.
        vocabulary: vocabulary size of `bpe`; None for as many tokens as the texts bear, at most `VOCABULARY`.

    Raises:
        UserError: the kind is unknown, or the tokenizer cannot be loaded or trained.
    """
    if kind in BPE:
        bpe = Bpe.train(texts(), vocabulary=vocabulary or VOCABULARY, lower=kind == "bpe-lower")
        size = bpe.vocabulary if vocabulary is not None else bpe.supported_size(texts())
        return bpe if size == bpe.vocabulary else Bpe.train(texts(), vocabulary=size, lower=kind == "bpe-lower")
    if kind == "chars":
        return Chars()
    if kind.startswith(HF):
        return Hf.read(Path(kind.removeprefix(HF)).expanduser())
    raise errors.unknown_name("tokenizer", kind, KINDS)


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load a saved tokenizer.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        description = json.loads(read_regular_text(folder / DESCRIPTION))
        kind = description["kind"]
        if kind == "chars":
            return Chars()
        if kind == "bpe":
            return Bpe(_read_model(folder / "bpe.model", description))
        if kind == "hf":
            return Hf(_read_model(folder / "hf.json", description), pad=int(description["pad"]), max_length=int(description["max_length"]))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the tokenizer in {folder} cannot be read ({one_line(error)}); restore the folder, or train again") from error
    raise UserError(f"the tokenizer in {folder} is of the kind {kind!r}, which this version does not know; update studygroup")


# ---------------------------------------------------------------- byte-pair encoding


class Bpe:
    """Byte-pair encoding (Sennrich et al., ACL 2016, arXiv:1508.07909) by SentencePiece (Kudo & Richardson, 2018, arXiv:1808.06226).

    Text is normalised by NFKC; case is kept unless the model was trained to fold it. Id 0 is the padding and 1 the unknown token; there
    are no tokens for the begin and end of a text. The vocabulary has the characters that make up 99.95% of the training texts and the 256
    bytes: any other character is encoded as the bytes of its UTF-8, so that a text in a script that the training texts lack is not a
    sequence of unknown tokens. SentencePiece requires the unknown token, which never occurs.

    Args:
        model: serialised SentencePiece model, see `train`.

    Raises:
        UserError: the model is damaged.
    """

    PAD = 0
    UNKNOWN = 1

    def __init__(self, model: bytes) -> None:
        try:
            if not model:  # SentencePiece accepts it
                raise ValueError("it is empty")
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"the BPE model is damaged ({one_line(error)}); restore it, or train again") from error
        self.model = model
        self.vocabulary: int = self._processor.get_piece_size()
        self.pad = self.PAD
        self.max_length = 512
        self.replacement: int | None = self.UNKNOWN
        self.special: Collection[int] = ()
        self.unknown = np.array([i for i in range(self.vocabulary) if i == self.UNKNOWN or self._processor.is_byte(i)], dtype=np.int64)

    @classmethod
    def train(cls, texts: Iterable[str], *, vocabulary: int = VOCABULARY, lower: bool = False) -> Bpe:
        """Train the vocabulary. The same texts give the same model, whatever the number of processors.

        Args:
            texts: read once and held in memory; 100 MB take about ten seconds. (`tokens.trained_tokenizer` draws a sample.)
            vocabulary: number of tokens; fewer if the texts have no more.
            lower: whether to fold case (SentencePiece's rule `nmt_nfkc_cf`).

        Raises:
            UserError: all texts are empty, or the vocabulary is too small for their characters.
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
                max_sentence_length=2**30,  # longer texts would be ignored: reviews have more than the default 4192 bytes
                num_threads=16,  # stored in the model, which must not depend on the machine; does not affect the vocabulary
                minloglevel=2,  # errors only
            )
        except RuntimeError as error:
            if "sentences_.empty()" in str(error):
                raise UserError("there is no text to train a vocabulary on, all are empty; check the text column") from error
            if found := re.search(r"(\d+) vs (\d+)", str(error)):
                raise UserError(f"vocabulary is {vocabulary}, but bytes and characters alone are {found[2]}; give more") from error
            raise UserError(f"no vocabulary of {vocabulary} tokens can be trained ({one_line(error)}); give another number") from error
        return cls(model.getvalue())

    def supported_size(self, texts: Iterator[str]) -> int:
        """Return the vocabulary size without the merges that are too rare in the texts that it was trained on; see `vocabulary`."""
        pieces = [self._processor.id_to_piece(i) for i in range(self.vocabulary)]
        special = {i for i in range(self.vocabulary) if self._processor.is_byte(i) or i in (self.PAD, self.UNKNOWN)}
        merges = [i for i, piece in enumerate(pieces) if len(piece) > 1 and i not in special]
        position = np.full(self.vocabulary, -1, dtype=np.int64)
        position[merges] = np.arange(len(merges))
        supported = supported_merges([pieces[i] for i in merges], lambda chunk: (position[ids] for ids in self.encode(chunk)), texts)
        return self.vocabulary - len(merges) + supported

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
    """Characters as tokens, with 72 ids: padding 0, unknown character 1, space 2, then 69 symbols.

    The symbols are those of Zhang et al. (NeurIPS 2015, arXiv:1509.01626), whose list of 70 has the hyphen twice: 26 letters, 10 digits,
    32 punctuation marks and the line feed. Letters are lower-cased; other white space (a tab, a no-break space) is a space.
    """

    PAD = 0
    UNKNOWN = 1
    SPACE = 2
    SYMBOLS = string.ascii_lowercase + string.digits + string.punctuation + "\n"

    def __init__(self) -> None:
        self.vocabulary = 3 + len(self.SYMBOLS)
        self.pad = self.PAD
        self.max_length = 1024
        self.replacement: int | None = self.UNKNOWN
        self.special: Collection[int] = ()
        self.unknown = np.array([self.UNKNOWN], dtype=np.int64)
        self._ids = np.full(0x110000, self.UNKNOWN, dtype=np.uint8)  # by code point
        self._ids[[code for code in range(0x3001) if chr(code).isspace()]] = self.SPACE  # there is no white space beyond
        self._ids[[ord(symbol) for symbol in self.SYMBOLS]] = range(3, self.vocabulary)

    def encode(self, texts: Sequence[str], max_length: int | None = None) -> list[Ids]:
        """See `Tokenizer`."""
        lower = [text[:max_length].lower()[:max_length] for text in texts]  # the lower case of a character may be longer, never shorter
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


MASK_TOKENS = ("[MASK]", "<mask>")


class Hf:
    """The tokenizer of a Hugging Face model, by the package `tokenizers`; no code of the model is run.

    The model's special tokens for the begin and end of a text are added, also to a truncated text.

    Args:
        model: content of its `tokenizer.json`.
        pad: id of its padding.
        max_length: default maximum number of tokens of a text, special tokens included.

    Raises:
        UserError: `tokenizers` is not installed, or cannot read the model.
    """

    def __init__(self, model: bytes, *, pad: int, max_length: int) -> None:
        try:
            tokenizers = importlib.import_module("tokenizers")
        except ImportError as error:
            raise UserError("the tokenizer of a Hugging Face model needs transformers; pip install 'studygroup[transformers]'") from error
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_str(model.decode("utf-8"))
        except Exception as error:  # the package raises no other class
            raise UserError(f"the tokenizer.json of the Hugging Face model cannot be read ({one_line(error)}); restore it") from error
        self._tokenizer.no_padding()
        self.model = model
        self.vocabulary: int = self._tokenizer.get_vocab_size()
        token = getattr(self._tokenizer.model, "unk_token", None)
        self.unknown = np.array([i for i in [self._tokenizer.token_to_id(token)] if i is not None] if token else [], dtype=np.int64)
        self.pad = pad
        self.max_length = max_length
        special = {token.content: number for number, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        self.special: Collection[int] = frozenset(special.values())
        unknown = self._tokenizer.token_to_id(str(getattr(self._tokenizer.model, "unk_token", None)))
        self.replacement: int | None = next((special[name] for name in MASK_TOKENS if name in special), unknown)
        if not 0 <= pad < self.vocabulary:
            raise UserError(f"pad_token_id of the Hugging Face model is {pad}, but it has {self.vocabulary} tokens; correct config.json")

    @classmethod
    def read(cls, folder: Path) -> Hf:
        """Read `tokenizer.json` in a model's folder, with `config.json` and `tokenizer_config.json` if they exist.

        Raises:
            UserError: it is missing or damaged, or has no padding token.
        """
        try:
            model = read_regular(folder / "tokenizer.json")
        except OSError as error:
            raise UserError(
                f"{folder} has no tokenizer.json that can be read ({error.strerror}); "
                "give the folder that the model and its fast tokenizer were saved to by save_pretrained"
            ) from error
        config, options = _read_json(folder / "config.json"), _read_json(folder / "tokenizer_config.json")
        tokenizer = cls(model, pad=0, max_length=512)
        pad = config.get("pad_token_id")  # first, as the network's mask is computed from it
        if pad is None:
            token = options.get("pad_token")
            pad = tokenizer._tokenizer.token_to_id(token["content"] if isinstance(token, dict) else str(token))
        if not isinstance(pad, int):
            raise UserError(f"the model in {folder} has no padding token; set pad_token_id in config.json")
        limits = (options.get("model_max_length"), config.get("max_position_embeddings"))
        return cls(model, pad=pad, max_length=min([512, *(int(limit) for limit in limits if isinstance(limit, int | float) and limit > 0)]))

    def encode(self, texts: Sequence[str], max_length: int | None = None) -> list[Ids]:
        """See `Tokenizer`.

        Raises:
            UserError: `max_length` is less than the number of special tokens.
        """
        if max_length is None:
            self._tokenizer.no_truncation()
        elif max_length < (special := self._tokenizer.num_special_tokens_to_add(False)):
            raise UserError(f"max_length is {max_length}, but the model adds {special} special tokens to a text; give more")
        else:
            self._tokenizer.enable_truncation(max_length)
        return [np.array(found.ids, dtype=np.int64) for found in self._tokenizer.encode_batch([_bytes(text).decode() for text in texts])]

    def save(self, folder: Path) -> None:
        """See `Tokenizer`."""
        _save(folder, self.describe(), {"hf.json": self.model})

    def save_pretrained(self, folder: Path, max_length: int) -> None:
        """Write the files that `AutoTokenizer.from_pretrained` reads.

        Args:
            folder: created if needed.
            max_length: number of tokens that texts are truncated to, if truncation is asked for.
        """
        tokenizer = type(self._tokenizer).from_str(self.model.decode("utf-8"))
        importlib.import_module("transformers").PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token=tokenizer.id_to_token(self.pad),
            model_max_length=max_length,
            model_input_names=["input_ids", "attention_mask"],
        ).save_pretrained(folder)

    def has_vocabulary_of(self, other: Hf) -> bool:
        """Return whether two tokenizers give the same ids to the same tokens, padding included."""
        return self.pad == other.pad and bool(self._tokenizer.get_vocab() == other._tokenizer.get_vocab())

    def describe(self) -> dict[str, object]:
        """See `Tokenizer`."""
        return {"kind": "hf", "vocabulary": self.vocabulary, "pad": self.pad, "max_length": self.max_length, "hash": _hash(self.model)}


def tokenizer_mismatch(folder: str, tokenizer: Tokenizer) -> str | None:
    """Return why a Hugging Face model does not read the tokens of a tokenizer; None if it does, or has no tokenizer of its own.

    Args:
        folder: of the model.
        tokenizer: of the data.

    Raises:
        UserError: the model's tokenizer is damaged.
    """
    path = Path(folder).expanduser()
    if not (path / "tokenizer.json").is_file():
        return None
    if not isinstance(tokenizer, Hf):
        return f"reads the tokens of its own tokenizer, but the texts are made into tokens by {tokenizer.describe()['kind']!r}"
    own = Hf.read(path)
    return None if own.has_vocabulary_of(tokenizer) else "reads the tokens of its own tokenizer, whose vocabulary is not that of the data"


# ---------------------------------------------------------------- files


def _bytes(text: str) -> bytes:
    """Encode a text in UTF-8; an unpaired surrogate becomes a question mark."""
    return text.encode("utf-8", "replace")


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _save(folder: Path, description: Mapping[str, object], files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        write_atomically(folder / name, content)
    write_atomically(folder / DESCRIPTION, (json.dumps(description, indent=1) + "\n").encode())


def _read_model(path: Path, description: Mapping[str, object]) -> bytes:
    """Read a model file and check its hash."""
    content = read_regular(path)
    if _hash(content) != description["hash"]:
        raise ValueError(f"{path.name} is not the file that was saved")
    return content


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a Hugging Face model; return an empty dictionary if there is none.

    Raises:
        UserError: it cannot be read as a JSON object.
    """
    try:
        return cast("dict[str, Any]", dict(json.loads(read_regular_text(path))))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({one_line(error)}); restore it") from error
