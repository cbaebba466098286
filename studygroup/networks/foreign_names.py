"""Key names of other libraries' networks, translated to this library's.

torchvision and timm name the tensors of a ResNet alike, those of MobileNetV2 differently. A table of names is made from our own
network, so that it has an entry for each of its tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

_RESIDUAL = (  # ours -> theirs
    (re.compile(r"^stem\.0\."), "conv1."),
    (re.compile(r"^stem\.1\."), "bn1."),
    (re.compile(r"^stage(\d+)_block(\d+)\."), lambda found: f"layer{found[1]}.{int(found[2]) - 1}."),
    (re.compile(r"\.shortcut\."), ".downsample."),
    (re.compile(r"^classifier\."), "fc."),
)
_INVERTED_BLOCK = re.compile(r"^stage(\d+)_block(\d+)\.body\.(\d+)\.")
_WIDE = {"torchvision": ("0.0", "0.1", "1.0", "1.1", "2", "3"), "timm": ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")}
_NARROW = {"torchvision": ("0.0", "0.1", "1", "2"), "timm": ("conv_dw", "bn1", "conv_pw", "bn2")}
_ENDS = {
    "torchvision": {"stem.0": "features.0.0", "stem.1": "features.0.1", "conv.0": "features.18.0", "conv.1": "features.18.1"},
    "timm": {"stem.0": "conv_stem", "stem.1": "bn1", "conv.0": "conv_head", "conv.1": "bn2"},
}
_LIBRARY_STAGES = (0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6)  # of timm: the paper's seven groups, of 17 blocks
_FINGERPRINTS = (  # tensors that every network of a family has
    {"conv1.weight", "layer1.0.conv1.weight", "fc.weight"},
    {"features.0.0.weight", "features.18.0.weight", "classifier.1.weight"},
    {"conv_stem.weight", "blocks.0.0.conv_dw.weight", "conv_head.weight"},
)


def is_of_a_library(names: Iterable[str]) -> bool:
    """Return whether the names are those of a ResNet or MobileNetV2 of torchvision or timm."""
    known = set(names)
    return any(known >= fingerprint for fingerprint in _FINGERPRINTS)


def translation(own: Iterable[str], given: Iterable[str]) -> Mapping[str, str] | None:
    """Return our name -> their name for all tensors of a network; None if the given names are of no network that is known.

    Args:
        own: names in the `state_dict` of our network.
        given: names in another library's.
    """
    own, given = list(own), set(given)
    tables: list[Callable[[list[str]], Mapping[str, str]]] = [_residual, _torchvision_mobilenetv2, _timm_mobilenetv2]
    for table in tables:
        names = table(own)
        if names and len(given & set(names.values())) > len(names) // 2:  # of the same kind; what is missing is said elsewhere
            return names
    return None


def _residual(own: list[str]) -> Mapping[str, str]:
    names = {}
    for name in own:
        theirs = name
        for pattern, replacement in _RESIDUAL:
            theirs = pattern.sub(replacement, theirs)
        names[name] = theirs
    return names if "fc.weight" in names.values() and "conv1.weight" in names.values() else {}


def _torchvision_mobilenetv2(own: list[str]) -> Mapping[str, str]:
    return _mobilenetv2(own, "torchvision", lambda number: f"features.{number + 1}.conv.", "classifier.1.")


def _timm_mobilenetv2(own: list[str]) -> Mapping[str, str]:
    firsts = [_LIBRARY_STAGES.index(stage) for stage in _LIBRARY_STAGES]

    def block(number: int) -> str:
        return f"blocks.{_LIBRARY_STAGES[number]}.{number - firsts[number]}."

    return _mobilenetv2(own, "timm", block, "classifier.")


def _mobilenetv2(own: list[str], library: str, block: Callable[[int], str], classifier: str) -> Mapping[str, str]:
    """Return the table for MobileNetV2.

    Args:
        own: our names.
        library: key of the tables above.
        block: number of a block in the network -> prefix of its names.
        classifier: prefix of the classifier's names.
    """
    found = {name: _INVERTED_BLOCK.match(name) for name in own}
    blocks = list(dict.fromkeys((match[1], match[2]) for match in found.values() if match))
    if len(blocks) != len(_LIBRARY_STAGES):
        return {}
    layers: dict[tuple[str, str], list[str]] = {}  # of each block, in order; activations have no tensors
    for match in found.values():
        if match and match[3] not in layers.setdefault((match[1], match[2]), []):
            layers[match[1], match[2]].append(match[3])
    names = {}
    for name, match in found.items():
        before, _, tensor = name.rpartition(".")
        if match:
            key = (match[1], match[2])
            theirs = (_WIDE if len(layers[key]) == 6 else _NARROW)[library]
            names[name] = f"{block(blocks.index(key))}{theirs[layers[key].index(match[3])]}.{tensor}"
        elif before in _ENDS[library]:
            names[name] = f"{_ENDS[library][before]}.{tensor}"
        else:
            names[name] = f"{classifier}{tensor}"
    return names
