"""Random bytes and random opcodes for every reader: anything but the package's own errors is a defect, and so is a crash."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from studygroup import config
from studygroup.data import open_data
from studygroup.data.images import pickles
from studygroup.data.images.decode import read_image
from studygroup.errors import TrainingError, UserError
from studygroup.exporting.model import ExportedModel
from studygroup.networks.weights import read_weights
from studygroup.options import CompareOptions, DataOptions, TrainOptions
from studygroup.runs import checkpoint
from studygroup.runs.member import Run
from studygroup.runs.reader import read_manifest, read_run
from tests.campaign.process import Case, Verdict
from tests.campaign.world import World

EXAMPLES = {"fast": 400, "slow": 60}
ROUNDS = 100


@dataclass(frozen=True)
class Reader:
    """A reader under attack.

    Attributes:
        valid: writes valid files to the working directory and returns the one to attack.
        read: reads them.
        pace: how long a reading takes: `fast` or `slow`.
        opcodes: whether the content is a pickle, made of random opcodes as well.
    """

    valid: Callable[[World], Path]
    read: Callable[[Path], object]
    pace: str = "fast"
    opcodes: bool = False


def cases(world: World) -> Iterator[Case]:
    """Yield a case for each reader in turn, until the time is over."""
    for turn in range(ROUNDS):
        for name, reader in READERS.items():
            kinds = ("bytes", "opcodes") if reader.opcodes else ("bytes",)
            for kind in kinds:
                yield Case(f"{name}-{kind}-{turn}", partial(attack, world, reader, kind, turn), seconds=400)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Damage a content in a few places: bits, bytes, pieces that are cut out, repeated or put in, and its end."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["bit", "byte", "cut", "repeat", "insert", "truncate", "swap"]))
        length = draw(st.integers(1, 40))
        if not data or kind == "insert":
            data[at:at] = draw(st.one_of(st.binary(max_size=40), st.sampled_from(ODD)))
        elif kind == "bit":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "byte":
            data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x22, 0x2C, 0x7B]))
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "repeat":
            data[at:at] = data[at : at + length] * draw(st.integers(1, 5))
        elif kind == "truncate":
            del data[at:]
        else:
            data[at : at + length] = draw(st.sampled_from(ODD))
    return bytes(data)


ODD = [
    b"\xff\xff\xff\xff",
    b"\x00" * 8,
    b"\xff\xff\xff\x7f",
    b"1e999",
    b"NaN",
    b"-1",
    b"null",
    b'"\\ud800"',
    b"[" * 60,
    b"9" * 400,
    b"\xef\xbb\xbf",
    b"!!python/x",
]


def opcodes() -> st.SearchStrategy[bytes]:
    """Return programs for an unpickler: random opcodes with random arguments, and pieces of what CIFAR's files and torch's hold."""
    number = st.integers(0, 255).map(lambda n: bytes([n]))
    large = st.sampled_from([0, 1, 2**31 - 1, 2**32 - 1, 255]).map(lambda n: n.to_bytes(4, "little"))
    text = st.binary(max_size=8)
    piece = st.one_of(
        st.sampled_from([*b"()]}.0NRbtlde2asu\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94\x81"]).map(lambda code: bytes([code])),
        number.map(lambda n: b"K" + n),
        number.map(lambda n: b"q" + n),
        number.map(lambda n: b"h" + n),
        large.map(lambda n: b"J" + n),
        large.map(lambda n: b"r" + n),
        text.map(lambda t: b"U" + bytes([len(t)]) + t),
        text.map(lambda t: b"C" + bytes([len(t)]) + t),
        text.map(lambda t: b"\x8c" + bytes([len(t)]) + t),
        st.sampled_from(NAMES).map(lambda name: b"c" + name),
        st.sampled_from(
            [b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", b"U\x02u1K\x00K\x01\x87R", b"K\x01\x85", b"\x89", b"\x80\x02"]
        ),
    )
    return st.lists(piece, max_size=40).map(lambda pieces: b"\x80\x02" + b"".join(pieces) + b".")


NAMES = [
    *(b"numpy\ndtype\n", b"numpy\nndarray\n", b"numpy.core.multiarray\n_reconstruct\n", b"numpy._core.multiarray\n_reconstruct\n"),
    *(b"_codecs\nencode\n", b"__builtin__\nbytes\n", b"os\nsystem\n", b"builtins\neval\n", b"collections\nOrderedDict\n"),
    *(b"torch._utils\n_rebuild_tensor_v2\n", b"torch\nFloatStorage\n", b"torch._utils\n_rebuild_parameter\n", b"torch\nSize\n"),
]


def attack(world: World, reader: Reader, kind: str, turn: int) -> Verdict:
    """Let Hypothesis attack a reader."""
    path = reader.valid(world)
    content = path.read_bytes()
    reader.read(path)  # what is valid is read
    tried = 0

    @seed(hash((world.seed, turn, kind)))
    @settings(
        max_examples=EXAMPLES[reader.pace],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(opcodes() if kind == "opcodes" else damaged(content))
    def attempt(data: bytes) -> None:
        nonlocal tried
        tried += 1
        Path("tried").write_bytes(data)  # if this process dies of it
        path.write_bytes(data if kind == "bytes" else in_place_of_the_pickle(content, data))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with suppress(UserError, TrainingError):
                reader.read(path)

    try:
        attempt()
    except BaseException as error:  # noqa: BLE001 (that is what is looked for)
        kept = world.folder / "defects"
        kept.mkdir(exist_ok=True)
        shutil.copy("tried", kept / f"{path.name}-{kind}-{turn}")
        return Verdict(tried, (f"{path.name}: {type(error).__name__}: {' '.join(str(error).split())[:150]} (kept in {kept})",))
    return Verdict(tried)


def in_place_of_the_pickle(content: bytes, data: bytes) -> bytes:
    """Return a file of torch with another pickle in it; another file is a pickle itself."""
    if not content.startswith(b"PK"):
        return data
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            copy.writestr(name, data if name.endswith("data.pkl") else source.read(name))
    return target.getvalue()


def copied(name: str, file: str) -> Callable[[World], Path]:
    """Return a function that copies a finished run and returns one of its files."""

    def valid(world: World) -> Path:
        shutil.copytree(world.folder / "base" / name, name, dirs_exist_ok=True)
        return next(Path(name).glob(file))

    return valid


def written(name: str, content: Callable[[], bytes]) -> Callable[[World], Path]:
    """Return a function that writes a file."""

    def valid(_: World) -> Path:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content())
        return Path(name)

    return valid


def saved(save: Callable[[io.BytesIO], object]) -> Callable[[], bytes]:
    """Return a function that returns what is saved into a buffer."""

    def content() -> bytes:
        buffer = io.BytesIO()
        save(buffer)
        return buffer.getvalue()

    return content


def state(buffer: io.BytesIO) -> None:
    torch.save({"fc.weight": torch.ones(2, 3), "fc.bias": torch.zeros(2)}, buffer)


def picture(kind: str) -> Callable[[], bytes]:
    image = Image.fromarray(np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3))
    return saved(lambda buffer: image.save(buffer, kind))


def table() -> bytes:
    return b"text,label\n" + b"".join(b'"some words, %d",%s\n' % (n, b"ab"[n % 2 : n % 2 + 1]) for n in range(20))


def lines() -> bytes:
    return b"".join(json.dumps({"text": f"some words {n}", "label": "ab"[n % 2]}).encode() + b"\n" for n in range(20))


def parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.table({"text": [f"some words {n}" for n in range(20)], "label": ["ab"[n % 2] for n in range(20)]})
    return saved(lambda buffer: pq.write_table(rows, buffer))()


def idx(world: World) -> Path:
    """MNIST's four files, tiny; the training images are attacked."""
    folder = Path("mnist")
    folder.mkdir(exist_ok=True)
    for prefix, count in (("train", 20), ("t10k", 10)):
        images = b"\x00\x00\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (count, 4, 4)) + bytes(range(16)) * count
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(images)
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(
            b"\x00\x00\x08\x01" + count.to_bytes(4, "big") + bytes(n % 10 for n in range(count))
        )
    return folder / "train-images-idx3-ubyte"


def cifar() -> bytes:
    array = np.arange(20 * 3072, dtype=np.uint8).reshape(20, 3072)
    return pickle.dumps({b"data": array[:1], b"labels": [3], b"batch_label": b"x"}, protocol=2)


def npz(buffer: io.BytesIO) -> None:
    labels = np.arange(20) % 2
    np.savez(buffer, images=np.zeros((20, 4, 4, 1), np.uint8), labels=labels)


def archive(buffer: io.BytesIO) -> None:
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for number in range(12):
            target.writestr(f"photos/{'ab'[number % 2]}/{number}.png", picture("PNG")())


def read_checkpoint(path: Path) -> None:
    """A checkpoint with a checksum that is right, whatever it holds."""
    import hashlib

    with suppress(ValueError, OSError):  # its own errors
        checkpoint.check_entries(checkpoint.read(path))
    data = path.read_bytes()[32:]
    path.write_bytes(hashlib.sha256(data).digest() + data)
    with suppress(ValueError, OSError):
        checkpoint.check_entries(checkpoint.read(path))


def opened(path: Path | str) -> object:
    """Prepare data from a path, anew each time."""
    shutil.rmtree("cache", ignore_errors=True)
    return open_data(DataOptions(str(path), cache="cache", progress=False), tokenizer="bpe")


def member(path: Path) -> None:
    """Read a run and what its best member is made from."""
    run = Run(path.parent if path.parent.name not in ("members", "tokenizer") else path.parent.parent)
    _ = (run.best.classes, run.evaluations, read_run(run.folder))


def manifest(path: Path) -> None:
    read_manifest(path.parent)


def bpe(path: Path) -> None:
    Run(path.parent.parent).best.predict(["word1 and word2"])


def recipe(path: Path) -> None:
    config.load(path, TrainOptions)
    config.load_group(path, TrainOptions)
    config.load(path, TrainOptions, CompareOptions)


def pickled(path: Path) -> None:
    with suppress(Exception):  # the caller makes one error of whatever it raises; what is looked for is a crash
        pickles.load(path.read_bytes())


READERS: dict[str, Reader] = {
    "config": Reader(copied("run", "config.yaml"), recipe),
    "result": Reader(copied("run", "result.json"), member, "slow"),
    "card": Reader(copied("run", "members/best.json"), member, "slow"),
    "weights of a member": Reader(copied("run", "members/best.safetensors"), member, "slow"),
    "metrics": Reader(copied("run", "metrics.jsonl"), member, "slow"),
    "evaluation": Reader(copied("run", "evaluation.json"), member, "slow"),
    "tokenizer": Reader(copied("texts", "tokenizer/bpe.model"), bpe, "slow"),
    "tokenizer.json": Reader(copied("texts", "tokenizer/tokenizer.json"), bpe, "slow"),
    "checkpoint": Reader(copied("run", "checkpoints/epoch-000002-*.ckpt"), read_checkpoint, "slow"),
    "manifest": Reader(written("out/comparison.json", lambda: b'{"variants": [], "costs": {}, "failed": {}}'), manifest),
    "state dict": Reader(written("weights.pt", saved(state)), read_weights, opcodes=True),
    "safetensors": Reader(copied(".", "exported.safetensors"), read_weights),
    "exported": Reader(copied(".", "exported.safetensors.json"), lambda path: ExportedModel(path.with_suffix("")), "slow"),
    "unpickler": Reader(written("data_batch_1", cifar), pickled, opcodes=True),
    "idx": Reader(idx, lambda path: opened(f"mnist:{path.parent}"), "slow"),
    "npz": Reader(written("images.npz", saved(npz)), opened, "slow"),
    "zip": Reader(written("photos.zip", saved(archive)), opened, "slow"),
    **{
        kind: Reader(written(f"image.{kind.lower()}", picture(kind)), lambda path: read_image(path, (3, 8, 8)))
        for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
    },
    "csv": Reader(written("table.csv", table), opened, "slow"),
    "jsonl": Reader(written("table.jsonl", lines), opened, "slow"),
    "parquet": Reader(written("table.parquet", parquet), opened, "slow"),
}
