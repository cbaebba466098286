"""Networks of a family by size: the next larger one, and those between two."""

from __future__ import annotations

import torch

from studygroup.networks.registry import NETWORKS, create, parameter_count

LARGER = {  # the next one of the family that costs about twice as much, or more
    "resnet8": "resnet14",
    "resnet14": "resnet26",
    "resnet20": "resnet44",
    "resnet26": "resnet56",
    "resnet32": "resnet56",
    "resnet44": "resnet110",
    "resnet56": "resnet110",
    "resnet8x4": "resnet32x4",
    "resnet18": "resnet34",
    "resnet34": "resnet50",
    "wrn_16_1": "wrn_16_2",
    "wrn_16_2": "wrn_40_2",
    "wrn_40_1": "wrn_40_2",
    "vgg8": "vgg11",
    "vgg11": "vgg13",
    "vgg13": "vgg16",
    "vgg16": "vgg19",
    "vdcnn9": "vdcnn17",
    "vdcnn17": "vdcnn29",
}


def larger_network(student: object) -> str | None:
    """Return the name of the next larger network of a student's family; None if there is none."""
    if not isinstance(student, str):
        return None
    name, _, suffix = student.partition("@")
    if name == "transformer":
        given = dict(item.split("=", 1) for item in suffix.split(",") if "=" in item)
        given["depth"] = str(2 * int(given.get("depth", "3")))
        return f"{name}@" + ",".join(f"{option}={value}" for option, value in given.items())
    found = LARGER.get(name)
    return f"{found}@{suffix}" if found and suffix else found


def networks_between(student: object, teacher: object) -> list[str]:
    """Return networks of the student's family that are larger than it and smaller than the teacher, the largest first.

    Args:
        student: name of a network.
        teacher: name of a larger one, of any family; of other values there is nothing between.
    """
    if not (isinstance(teacher, str) and teacher.partition("@")[0] in NETWORKS):
        return []
    found: list[str] = []
    larger = larger_network(student)
    while larger is not None and larger != teacher and _parameters(larger) < _parameters(teacher):
        found.append(larger)
        larger = larger_network(larger)
    return found[::-1]


def _parameters(name: str) -> int:
    with torch.device("meta"):  # nothing is allocated
        return parameter_count(create(name, num_classes=10))
