"""What the examples on the pages take as given: a small `photos/`, `reviews.csv`, finished runs, made of real digits and sentences.

`build` makes them in a folder; `docs/run.py` gives each page a copy of it.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CLASSES = "zero,one,two,three"
SENTENCES = ["--libraries", "sklearn,matplotlib", "--each", "80"]
OWN_NETWORK = '''\
from torch import nn


def make(num_classes: int, in_channels: int) -> nn.Module:
    """Build a small network."""
    layers = [nn.Conv2d(in_channels, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)]
    return nn.Sequential(*layers)
'''
TEXT_STUDENT = "transformer@depth=2,heads=2,hidden=16,embedding=16,feedforward=16"
RUNS = [  # commands whose results the pages begin with
    "train photos/ --student resnet20 --method dml --out runs/photos",
    "train photos/ --student resnet20 --out runs/earlier",
    f"train reviews.csv --student {TEXT_STUDENT} --vocabulary 400 --method dml --out runs/reviews",
    "train reviews.csv --student hf:models/distilbert --out runs/bert",
    "export runs/photos --out photos.onnx",
    "export runs/reviews --format pt2",
]


def build(folder: Path, studygroup: Callable[[list[str]], None]) -> None:
    """Make the stand-ins.

    Args:
        folder: an empty folder.
        studygroup: runs the command line in that folder.
    """
    program([ROOT / "recipes" / "digit_photos.py", "photos", "--classes", CLASSES, "--each", "20"], folder)
    program([ROOT / "recipes" / "digit_photos.py", "more-photos", "--classes", CLASSES, "--each", "5", "--skip", "20"], folder)
    program([ROOT / "recipes" / "docstrings.py", "reviews.csv", *SENTENCES], folder)
    shutil.make_archive(str(folder / "photos"), "zip", folder / "photos")
    shutil.copy(next((folder / "more-photos" / "two").glob("*.png")), folder / "cat.png")
    from PIL import Image

    Image.open(folder / "cat.png").save(folder / "cat.jpg")
    with (folder / "reviews.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "new-reviews.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([row["text"]] for row in rows[:20])])
    shutil.copy(folder / "reviews.csv", folder / "more-reviews.csv")
    (folder / "reviews.txt").write_text("\n".join(row["text"] for row in rows[:3]) + "\n", encoding="utf-8")
    (folder / "letter.txt").write_text(rows[0]["text"], encoding="utf-8")
    (folder / "mine.py").write_text(OWN_NETWORK, encoding="utf-8")
    hugging_face_folder(folder / "models" / "distilbert", [row["text"] for row in rows], [])
    hugging_face_folder(folder / "models" / "fine-tuned", [row["text"] for row in rows], sorted({row["label"] for row in rows}))
    for command in RUNS:
        studygroup(command.split())


def program(arguments: list[Any], folder: Path) -> None:
    """Run a Python program in a folder."""
    subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, stdout=subprocess.DEVNULL, check=True)


def hugging_face_folder(folder: Path, texts: list[str], classes: list[str]) -> None:
    """Write a tiny BERT of random weights as transformers does, with a tokenizer of the texts, and a classifier of classes, if any."""
    import tokenizers
    import transformers

    folder.mkdir(parents=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    words.train_from_iterator(texts, tokenizers.trainers.WordPieceTrainer(vocab_size=500, special_tokens=special, show_progress=False))
    ends = [(word, special.index(word)) for word in ("[CLS]", "[SEP]")]
    words.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    fast_tokenizer: Any = transformers.PreTrainedTokenizerFast  # without annotations
    fast = fast_tokenizer(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=64
    )
    fast.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=words.get_vocab_size(),
        pad_token_id=0,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    if classes:
        config.id2label, config.label2id = dict(enumerate(classes)), {name: number for number, name in enumerate(classes)}
    kind = transformers.BertForSequenceClassification if classes else transformers.BertModel
    kind(config).save_pretrained(folder)
