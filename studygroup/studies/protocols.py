"""The papers' protocols, and what stands for them at the smaller scales.

`paper`: data, networks, sizes and schedules as published. What a paper leaves open has the defaults, which `docs/methods/` documents.
`small`: Fashion-MNIST at 14x14 pixels and a table of texts that the user gives, networks of the same families, and schedules at which the
network alone has stopped gaining, in the paper's form. `tiny`: a few epochs on scikit-learn's digits and on docstrings of installed
packages: whether a study runs, not what it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from studygroup.studies.study import Cell, Panel, Scale, Setting, Variants

Place = tuple[str, str]
"""Data set and network, as a paper names a column."""
TINY_IMAGES = {"data": "digits", "preset": "none", "train_size": 256, "holdout": 100, "linear_model": False, "augment": "crop"}
SMALL_IMAGES = {"data": "fashion-mnist", "preset": "none", "image_size": 14, "train_size": 2000, "holdout": 1000, "augment": "crop+flip"}
TINY_NETWORK, SMALL_NETWORK = "resnet8", "resnet8"
TINY_TEXTS = {"preset": "none", "train_size": 400, "holdout": 100, "max_length": 24, "vocabulary": 800, "linear_model": False}
SMALL_TEXTS = {"preset": "none", "max_length": 64}
NAMES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "fashion-mnist": "Fashion-MNIST",
    "digits": "digits",
    "imdb": "IMDB Review",
    "yelp_review_full": "Yelp Review Full",
    "yahoo_answers": "Yahoo! Answers",
    "amazon_review_full": "Amazon Review Full",
}
"""What tables call data sets; others go by their own names."""


def halvings(epochs: int) -> dict[str, Any]:
    """Return CGL's optimisation: Adam at .001, halved after 30, 60 and 80% of the epochs, no weight decay."""
    stops = [round(epochs * share) for share in (0.3, 0.6, 0.8)]
    return {
        "epochs": epochs,
        "batch_size": 64,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "schedule": "milestones",
        "milestones": sorted({max(stop, 1) for stop in stops}),
        "gamma": 0.5,
    }


def title(data: str, network: str) -> str:
    """Return what a table calls a panel."""
    name, _, place = data.partition(":")
    return f"{NAMES.get(name) or stem(place or name)}, {network.partition('@')[0]}"


def key(data: str, network: str) -> str:
    """Return the name of a panel's folder."""
    text = f"{stem(data.partition(':')[0])}-{network.partition('@')[0]}"
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in text)


def stem(place: str) -> str:
    """Return the last part of a path, without a suffix."""
    return PurePath(place).stem or place


def panel(options: Mapping[str, Any], variants: Variants, *, name: str = "", titled: str = "") -> Panel:
    """Make a panel that is named after its data and network."""
    data, network = str(options["data"]), str(options["student"])
    return Panel(name or key(data, network), titled or title(data, network), options, variants)


# -------------------------------------------------------------------- CGL


def cgl_images(setting: Setting, network: str = "resnet18", data: str = "cifar100", *, epochs: int = 400) -> dict[str, Any]:
    """Return the options of CGL's experiments on images.

    Args:
        setting: of the study.
        network: at the scale `paper`; at the others a resnet18 is a resnet8, and a resnet34 a resnet14.
        data: at the scale `paper`.
        epochs: at the scale `small`.
    """
    if setting.scale == "paper":
        return {
            "data": setting.published(data),
            "preset": "none",
            "student": network,
            "holdout": 5000,
            "augment": "crop+flip",
            **halvings(200),
        }
    own = setting.student or {"resnet18": "resnet8", "resnet34": "resnet14"}[network]
    images, length = (TINY_IMAGES, 3) if setting.scale == "tiny" else (SMALL_IMAGES, epochs)
    given = {} if setting.images is None else {"data": setting.images}
    return {**images, **given, "student": own, **halvings(length)}


def cgl_texts(setting: Setting, data: str = "imdb") -> dict[str, Any]:
    """Return the options of CGL's experiments on texts; at the smaller scales, all are on the texts that are given."""
    if setting.scale == "paper":
        shared = {
            "data": setting.published(data),
            "preset": "none",
            "batch_size": 64,
            "optimizer": "adam",
            "weight_decay": 0.0,
            "schedule": "constant",
        }
        if data == "imdb":
            own = {"student": "transformer", "tokenizer": "bpe-lower", "vocabulary": 16000, "holdout": 2000}
            return {**shared, **own, "epochs": 30, "learning_rate": 1e-4}
        holdout = {"yelp_review_full": 20_000, "yahoo_answers": 50_000, "amazon_review_full": 100_000}[data]
        return {**shared, "student": "vdcnn9", "holdout": holdout, "epochs": 20, "learning_rate": 1e-3}
    assert setting.texts is not None
    optimisation = {"batch_size": 64, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "schedule": "cosine"}
    if setting.scale == "tiny":
        own = {"student": setting.student or "transformer@embedding=32,hidden=32,depth=1,heads=2", "epochs": 2}
        return {**TINY_TEXTS, "data": setting.texts, **own, **optimisation}
    return {**SMALL_TEXTS, "data": setting.texts, "student": setting.student or "transformer@embedding=128", "epochs": 30, **optimisation}


def cgl(probability: float = 0.25, **options: object) -> dict[str, Any]:
    """Return CGL as the paper has it on images, and with other options."""
    return {"method": {"name": "cgl", "students": 8, "modules": 2, "probability": probability, "ramp_share": 0.2, **options}}


def groups(students: int, probability: float) -> Variants:
    """Return CGL, what the paper compares it with, and the network alone.

    Which form of the comparators the paper ran is not said: they have their defaults.

    Args:
        students: of the comparators: 3 on images, 5 on texts.
        probability: p of CGL: .25 on images, .5 on texts.
    """
    comparators = {name: {"method": {"name": name, "students": students}} for name in ("dml", "cl_ilr", "one", "okddip")}
    return {"baseline": {"method": "baseline"}, **comparators, "cgl": cgl(probability)}


GROUP_NAMES = {"baseline": "Baseline", "dml": "DML", "cl_ilr": "CL-ILR", "one": "ONE", "okddip": "OKDDip", "cgl": "CGL"}


def group_cells(
    panels: Mapping[tuple[str, str], Panel], published: Mapping[str, Mapping[tuple[str, str], tuple[float, float]]]
) -> list[Cell]:
    """Return the cells of a table of `groups`: a row per method, a column per panel.

    Args:
        panels: by the paper's data set and network.
        published: mean and standard deviation in %, by variant, data set and network.
    """
    return [
        Cell(GROUP_NAMES[name], one.title, one.name, name, published=mean, published_std=std, stands_for=title(*place))
        for place, one in panels.items()
        for name in one.variants
        for mean, std in [published[name][place]]
    ]


# -------------------------------------------------------------------- ORC


def steps(epochs: int, *stops: int) -> dict[str, Any]:
    """Return milestones that are given for 240 epochs, for another number of epochs."""
    return {"milestones": sorted({max(round(stop * epochs / 240), 1) for stop in stops})}


def orc_epochs(scale: Scale, *, many: bool = False) -> int:
    """Return the epochs of ORC's experiments; `many` for the tables of 16 methods, which are shorter at the scale `small`."""
    return {"tiny": 3, "small": 100 if many else 240, "paper": 240}[scale]


def orc_images(setting: Setting, network: str, data: str = "cifar100", *, epochs: int, rate: float = 0.05) -> dict[str, Any]:
    """Return the options of ORC's experiments: nothing is held out, and the last epoch counts.

    The milestones are those of the CRD protocol (150, 180, 210 of 240), which the paper says it follows; its own, 100, 150, 210, are
    `printed`. Alpha, mixup's alpha and the pivot's learning rate are not given: they have the method's defaults.
    """
    optimisation = {
        "epochs": epochs,
        "batch_size": 64,
        "optimizer": "sgd",
        "learning_rate": rate,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 5e-4,
        "schedule": "milestones",
        **steps(epochs, 150, 180, 210),
        "gamma": 0.1,
        "holdout": 0,
    }
    if setting.scale == "paper":
        return {"data": setting.published(data), "preset": "none", "augment": "crop+flip", "student": network, **optimisation}
    images = TINY_IMAGES if setting.scale == "tiny" else SMALL_IMAGES
    return {**images, **({} if setting.images is None else {"data": setting.images}), "student": network, **optimisation}


def printed(epochs: int) -> dict[str, Any]:
    """Return the milestones that ORC's paper prints."""
    return steps(epochs, 100, 150, 210)


def orc(**options: object) -> dict[str, Any]:
    """Return ORC as the paper has it, and with other options."""
    return {"method": {"name": "orc", "temporary_teachers": 1, "temperature": 4.0, **options}, "teacher": "teacher"}


def taught(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return variants of methods with a trained teacher, at their defaults."""
    return {method: {"method": method, "teacher": "teacher"} for method in methods}
