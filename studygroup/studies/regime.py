"""When a group pays: training-set size, updates and network, at equal total compute."""

from __future__ import annotations

import math
from typing import Any

from studygroup.studies.contrasts import Claim, Contrast, slope
from studygroup.studies.protocols import SMALL_IMAGES, SMALL_TEXTS, TINY_IMAGES, TINY_TEXTS, key, title
from studygroup.studies.study import Cell, Figure, Panel, Plan, Setting, Study

NAMES = {"baseline": "Alone", "dml": "DML", "one": "ONE", "cgl": "CGL"}
METHODS = {"tiny": ("baseline", "dml", "cgl"), "small": tuple(NAMES), "paper": tuple(NAMES)}
SIZES = {"tiny": (128, 256), "small": (500, 2000, 8000), "paper": (500, 2000, 8000, 54_000)}
FEWER = {"tiny": (128, 256), "small": (250, 500, 1000)}
"""Sizes of a second set of images, scikit-learn's digits, which has 1,797."""
UPDATES = {"tiny": (8, 32), "small": (2000, 6000, 18_000), "paper": (2000, 6000, 18_000, 50_000)}
TEXT_UPDATES = {**UPDATES, "small": (300, 1000, 3000)}
"""A small transformer over-fits a thousand texts within as many updates."""
NETWORKS = {"tiny": ("resnet8",), "small": ("resnet8",), "paper": ("resnet8", "resnet8x4")}
BATCH = 64
SGD = {"optimizer": "sgd", "learning_rate": 0.05, "weight_decay": 5e-4, "schedule": "cosine"}
ADAM = {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "schedule": "cosine"}

DataSet = tuple[dict[str, Any], tuple[str, ...], tuple[int, ...], tuple[int, ...]]
"""Options, networks, sizes of the training set, and updates."""


def data_sets(setting: Setting) -> list[DataSet]:
    """Return options, networks, sizes and updates of the two data sets: images, and texts if they are given, else other images."""
    scale = setting.scale
    updates = UPDATES[scale]
    images = {**(TINY_IMAGES if scale == "tiny" else SMALL_IMAGES), **SGD}
    if setting.images is not None:
        images["data"] = setting.images
    networks = (setting.student,) if setting.student else NETWORKS[scale]
    if setting.texts is not None:
        texts = {**(TINY_TEXTS if scale == "tiny" else SMALL_TEXTS), "data": setting.texts, "holdout": 0.1, **ADAM}
        tiny, usual = "transformer@embedding=32,hidden=32,depth=1,heads=2", "transformer@embedding=128"
        second: DataSet = (
            texts,
            (tiny if scale == "tiny" else usual,),
            SIZES[scale][:-1] if scale != "tiny" else SIZES[scale],
            TEXT_UPDATES[scale],
        )
    elif scale == "paper":
        second = ({**images, "data": setting.published("cifar10"), "image_size": None}, networks, SIZES[scale][:-1], updates)
    else:
        second = ({**TINY_IMAGES, "holdout": 200, **SGD}, networks[:1], FEWER[scale], updates)
    return [(images, networks, SIZES[scale], updates), second]


def plan(setting: Setting) -> Plan:
    """Plan the study: a comparison at equal compute for every size, number of updates and network."""
    panels, cells = [], []
    methods = METHODS[setting.scale]
    for options, networks, sizes, numbers in data_sets(setting):
        for network in networks:
            block = title(str(options["data"]), network)
            for size in sizes:
                for updates in numbers:
                    steps = -(-size // BATCH)
                    epochs = max(round(updates / steps), 1)
                    shared = {"student": network, "train_size": size, "epochs": epochs, "batch_size": BATCH}
                    own = {**options, **shared, "select_from": "last", "budget": "equal-compute"}
                    name = f"{key(str(options['data']), network)}-{size}-{updates}"
                    column = f"{size:,} samples, {updates:,} updates"
                    panels.append(Panel(name, f"{block}, {column}", own, {method: {"method": method} for method in methods}))
                    cells += [
                        Cell(NAMES[method], column, name, method, "test", block, x=float(updates), y=float(size)) for method in methods
                    ]
    return Plan(panels, cells, Figure("map", x_label="updates of the network alone", reference="Alone"), claims_of(cells), NOTES)


NOTES = [
    (
        "Each method has the total compute of the network alone, which trains for the given number of updates, rounded to whole epochs; a "
        "group shares it."
    ),
    (
        "The border is where a plane over the logarithms of size and updates, fitted to the difference between CGL and the network alone "
        "of each seed, is 0; the band has those places whose 95% interval over seeds includes 0."
    ),
    "The student is chosen on the hold-out at the last epoch.",
]


def claims_of(cells: list[Cell]) -> list[Claim]:
    """Return what is tested on each data set and network."""
    found = []
    for block in dict.fromkeys(cell.block for cell in cells):
        at = {(cell.row, cell.column): cell for cell in cells if cell.block == block}
        columns = list(dict.fromkeys(column for _, column in at))
        mean = [(at[row, column].key, sign / len(columns)) for column in columns for row, sign in (("CGL", 1.0), ("Alone", -1.0))]
        gain = [
            part
            for row, sign in (("CGL", 1.0), ("Alone", -1.0))
            for part in slope([at[row, column] for column in columns], row, sign, place=math.log2).weights
        ]
        how = "over all sizes and numbers of updates, by seed"
        found += [
            Claim(
                f"CGL is better than the network alone at equal compute: {block}",
                "",
                f"the mean difference {how}",
                [Contrast("CGL above Alone", mean)],
            ),
            Claim(
                f"CGL gains with the number of updates: {block}",
                "",
                f"the slope of the difference over the logarithm of the updates, {how}",
                [Contrast("the difference rises", gain)],
                "points per doubling",
            ),
        ]
    return found


STUDY = Study("regime", "When a group pays, at equal total compute", "the papers' scope, drawn", plan, takes=("texts",))
