"""Tables of the pages on network families (`docs/networks/`) and data sources (`docs/sources/`), for `docs.generate`."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any

import torch
from docstring_parser import parse

from studygroup.data import SOURCES
from studygroup.data.cache.download import RemoteFile
from studygroup.data.sources import OPTIONS_OF, TABLE_OPTIONS
from studygroup.networks import NETWORKS, create, parameter_count
from studygroup.networks.registry import options_of, reads_texts
from studygroup.options import DataOptions, TableOptions
from studygroup.parameters import Parameter, parameters_of, show
from studygroup.training.flops import Operations

CLASSES, CHANNELS, SIDE, TOKENS = 10, 3, 32, 128  # of the networks in the tables
SOURCE_PAGES = {  # page in docs/sources -> the sources that it describes
    "folder": ["folder"],
    "arrays": ["arrays"],
    "table": ["table"],
    "texts": ["texts"],
    "digits": ["digits"],
    "mnist": ["mnist", "fashion-mnist"],
    "cifar": ["cifar10", "cifar100"],
    "imdb": ["imdb"],
    "reviews": ["yelp_review_full", "yahoo_answers", "amazon_review_full"],
    "hub": ["hub"],
}
UNREADABLE = ("folder", "table", "texts", "imdb", "reviews", "hub")  # pages of sources that may skip an unreadable sample


def families() -> dict[str, list[str]]:
    """Return the families of networks, which are the modules that define them -> the names of their networks."""
    found: dict[str, list[str]] = {}
    for name, path in NETWORKS.built_in.items():
        found.setdefault(path.partition(":")[0].rpartition(".")[2], []).append(name)
    return found


def network_table(names: list[str]) -> str:
    """Return the table of the networks of a family: parameters, operations of a forward pass, and shapes of the feature maps."""
    rows = [network_row(name) for name in names]
    return "\n".join(["| network | parameters | operations | maps |", "|---|---:|---:|---|", *rows])


@cache
def network_row(name: str) -> str:
    """Return a network's row."""
    maps: list[torch.Tensor] = []
    texts = reads_texts(name)
    with torch.device("cpu" if texts else "meta"):  # convolutions of images need no memory; texts are masked by what they hold
        network = create(name, num_classes=CLASSES, in_channels=CHANNELS).eval()
        inputs = torch.ones(1, TOKENS, dtype=torch.long) if texts else torch.empty(1, CHANNELS, SIDE, SIDE)
    for block in network.last_blocks().values():
        network.get_submodule(block).register_forward_hook(lambda _module, _args, out: maps.append(out.values if texts else out))
    with torch.no_grad(), Operations() as counted:
        network(inputs)
    shapes = ", ".join(f"{x.shape[2]}·{x.shape[1]}" if texts else f"{x.shape[1]}·{x.shape[2]}²" for x in maps)
    return f"| `{name}` | {parameter_count(network):,} | {counted.flops / 1e6:,.0f} M | {shapes} |"


def network_options(name: str) -> str:
    """Return the table of the options that are part of a text network's name, with the meanings from its function's docstring."""
    factory: Any = NETWORKS[name]
    factory = getattr(factory, "func", factory)
    about = {item.arg_name: " ".join((item.description or "").split()) for item in parse(inspect.getdoc(factory) or "").params}
    rows = [f"| `{option}` | {show(default)} | {about[option].rstrip('.')} |" for option, default in options_of(name).items()]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows]) if rows else ""


def family_index() -> str:
    """Return the table of all families, for docs/networks/README.md."""
    rows = [f"| [{family}]({family}.md) | {', '.join(f'`{name}`' for name in names)} |" for family, names in families().items()]
    return "\n".join(["| family | networks |", "|---|---|", *rows])


def source_index() -> str:
    """Return the table of all sources, for docs/sources/README.md."""
    rows = [f"| [`{name}`]({page}.md) | {SOURCES[name].kind} | {about(name)} |" for page, names in SOURCE_PAGES.items() for name in names]
    return "\n".join(["| name | | |", "|---|---|---|", *rows])


def source_table(page: str) -> str:
    """Return the table of the sources of a page, and of their published files."""
    rows = [f"| `{name}` | {about(name)} |" for name in SOURCE_PAGES[page]]
    table = ["| name | what it is |", "|---|---|", *rows]
    files = [file for name in SOURCE_PAGES[page] for file in remote_files(name)]
    if files:
        lines = [f"- <{file.url}>: {file.size:,} bytes, MD5 `{file.md5}`" for file in files]
        table += ["", "`--download` fetches, and checks:", "", *lines]
    return "\n".join(table)


def about(source: str) -> str:
    """Return the description of a source as a cell of a table."""
    return plain(SOURCES[source].description)


def plain(text: str) -> str:
    """Return a text of the program as a cell of a table: flags are code, and bars do not end the cell."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(part if number % 2 else re.sub(r"(?<![\w-])--[a-z][\w-]*", r"`\g<0>`", part) for number, part in enumerate(parts))


def remote_files(source: str) -> tuple[RemoteFile, ...]:
    """Return the published files of a source; none if it is never fetched by their addresses."""
    remote = getattr(SOURCES[source], "remote", ())
    return remote if isinstance(remote, tuple) else (remote,)


def source_options(page: str) -> dict[str, Parameter]:
    """Return the options that matter for the sources of a page, beside those of splits, which all have."""
    (first, *_) = names = SOURCE_PAGES[page]
    kind = SOURCES[first].kind
    known = [name for name in OPTIONS_OF[kind] if name not in parameters_of(TableOptions) or name in TABLE_OPTIONS.get(first, ())]
    known += ["augment"] if kind == "images" else []
    known += ["on_error"] if page in UNREADABLE else []
    known += ["download"] if any(map(remote_files, names)) or page == "hub" else []
    return {name: parameter for name, parameter in parameters_of(DataOptions).items() if name in known}
