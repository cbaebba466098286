"""`studygroup list`."""

from __future__ import annotations

import torch

from studygroup.data import describe_sources
from studygroup.errors import unknown_name
from studygroup.methods import METHODS, method_options
from studygroup.networks import NETWORKS, create, parameter_count
from studygroup.networks.registry import stems
from studygroup.options import ListOptions


def run(options: ListOptions) -> dict[str, dict[str, str]]:
    """List methods, networks and data sets, with one line on each."""
    lists = {"methods": methods, "networks": networks, "data": data}
    if options.kind not in ("all", *lists):
        raise unknown_name("kind", options.kind, ["all", *lists])
    return {kind: names() for kind, names in lists.items() if options.kind in ("all", kind)}


def methods() -> dict[str, str]:
    """Return the first line of each method's docstring, and its options."""
    found = {}
    for name, method in METHODS.items():
        line = (method.__doc__ or "").strip().splitlines()[0]
        own = ", ".join(method_options(name))
        found[name] = f"{line} Options: {own}." if own else line
    return found


def networks() -> dict[str, str]:
    """Return the number of parameters of each network, and its stems if it has several."""
    found = {}
    for name in NETWORKS:
        with torch.device("meta"):  # without memory for its weights
            count = parameter_count(create(name, num_classes=10))
        offered = stems(name)
        found[name] = f"{count:,} parameters for 10 classes" + (f"; stems {', '.join(offered)}" if len(offered) > 1 else "")
    return found


def data() -> dict[str, str]:
    """Return a line on each data set."""
    return describe_sources()
