"""Bad inputs, as data: `inputs/*.yaml`. Each must end in one line that says what is wrong, and in no other way.

A file is about a topic. It has files that entries may need (text, or `hex`, `zeros`, `json` with keys to change, `link`, `fifo`), and
entries: name: [command, expected part of the last line] or [command, expected part, {path: content to lay over the finished runs}].
In commands, RUN and TEXTS are copies of finished runs, DML one of two students, IMAGE a picture, TABLE a table of texts, DIGITS the words
of a short training.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.campaign.process import Case, Child, Verdict, command
from tests.campaign.world import SMALL, World

FOLDER = Path(__file__).parent / "inputs"
MEMORY = 12 * 2**30
"""Bytes of address space of a command: a number that asks for all memory must be refused before it gets it."""
SECONDS = 150
RAW = re.compile(r"error: [A-Za-z_.]*(Error|Exception|Warning|Interrupt)\b")
"""A message that begins with the name of a class: nobody has thought of that case."""
CARD = "exported.safetensors.json"
FIXTURES = {"RUN": "run", "DML": "dml", "TEXTS": "texts", "TABLE": "table.csv", "IMAGE": "pixel.png", "EXPORTED": "exported.safetensors"}


@dataclass(frozen=True)
class Entry:
    """A bad input.

    Attributes:
        name: of the entry, `TOPIC/NAME`.
        words: the command after `studygroup`, with placeholders.
        expected: part of the last line of the output.
        files: path -> content, of the topic and of the entry.
    """

    name: str
    words: str
    expected: str
    files: Mapping[str, Any] = field(default_factory=dict)


def entries() -> list[Entry]:
    """Read the table."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        topic = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, row in (topic["entries"] or {}).items():
            words, expected, *more = row
            own = dict(more[0]) if more else {}
            found.append(Entry(f"{path.stem}/{name}", words, expected, {**_needed(topic.get("files", {}), words), **own}))
    return found


def _needed(files: Mapping[str, Any], words: str) -> dict[str, Any]:
    """Return the files of a topic that a command names: modules, where it names something of them."""
    return {path: content for path, content in files.items() if any(part in words for part in (path, path.removesuffix(".py") + ":"))}


def cases(world: World) -> Iterator[Case]:
    """Yield a case for each entry."""
    for entry in entries():
        yield Case(entry.name, partial(attempt, world, entry), seconds=SECONDS + 60)


def attempt(world: World, entry: Entry) -> Verdict:
    """Run an entry's command and look at how it ends."""
    here = Path.cwd()
    base = world.folder / "base"
    for word, name in FIXTURES.items():
        if word in entry.words and (base / name).exists() and not Path(name).exists():
            (shutil.copytree if (base / name).is_dir() else shutil.copy)(base / name, name)
    if "EXPORTED" in entry.words:
        shutil.copy(base / CARD, CARD)
    for path, content in entry.files.items():
        lay(Path(path), content)
    before = {str(path) for path in here.rglob("*")}
    child = Child(command(words_of(world, entry.words)), here, memory=MEMORY)
    text = problem(child.wait(SECONDS), child.text(), entry.expected)
    made = sorted({str(path.relative_to(here)) for path in here.rglob("*")} - {str(Path(path).relative_to(here)) for path in before})
    if not text and "new" in made and not entry.words.startswith("advise"):  # which keeps its measurements for a longer time limit
        text = "it leaves the run folder `new` behind"
    return Verdict(1, (f"{entry.name}: {text}",) if text else ())


def words_of(world: World, words: str) -> list[str]:
    """Return the words of a command with placeholders filled in; trainings get a folder and the cache."""
    found: list[str] = []
    for word in shlex.split(words):
        if word == "DIGITS":
            found += ["digits", *SMALL]
            continue
        for name, path in FIXTURES.items():
            word = re.sub(rf"\b{name}\b", path, word)
        found.append(word.replace("\\0", "\0"))
    takes = {"train": ("--out", "--cache"), "compare": ("--out", "--cache"), "advise": ("--out", "--cache"), "evaluate": ("--cache",)}
    values = {"--out": "new", "--cache": str(world.cache)}
    for flag in takes.get(found[0] if found else "", ()):
        if flag not in found:
            found += [flag, values[flag]]
    return found


def problem(code: int | None, text: str, expected: str) -> str:
    """Return what is wrong with the end of a command; empty if nothing is."""
    last = (text.strip().splitlines() or ["nothing is printed"])[-1]
    if code is None:
        return f"it hangs: {last[:150]}"
    if code not in (1, 2):
        return f"it ends with {code}: {last[:200]}"
    if "Traceback (most recent" in text or RAW.search(last):
        return f"a raw error: {last[:300]}"
    if not last.startswith("studygroup: error: ") or expected not in last:
        return f"not {expected!r}, but: {last[:300]}"
    if re.search("[\x00-\x08\x0b-\x1f\x7f]", text):
        return "control characters are printed"
    return ""


def lay(path: Path, content: Any) -> None:
    """Write a file as the table describes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (kind, value), *_ = ({"text": content} if isinstance(content, str) else content).items()
    if kind not in WRITERS:
        raise ValueError(f"the table has a file of the unknown kind {kind}")
    if kind in ("link", "fifo", "folder"):
        path.unlink(missing_ok=True)
    WRITERS[kind](path, value)


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _replace(path: Path, words: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    if words[0] not in text:
        raise ValueError(f"{path} has no {words[0]!r}")
    path.write_text(text.replace(*words), encoding="utf-8")


WRITERS: Mapping[str, Callable[[Path, Any], object]] = {
    "text": lambda path, text: path.write_text(text, encoding="utf-8"),
    "hex": lambda path, digits: path.write_bytes(bytes.fromhex(digits)),
    "zeros": lambda path, count: path.write_bytes(bytes(count)),
    "repeat": lambda path, parts: path.write_text(str(parts[0]) * parts[1] + str(parts[2]), encoding="utf-8"),
    "link": lambda path, target: path.symlink_to(target),
    "fifo": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(exist_ok=True),
    "remove": lambda path, _: shutil.rmtree(path) if path.is_dir() else path.unlink(),
    "cut": lambda path, size: path.write_bytes(path.read_bytes()[:size]),
    "flip": _flip,
    "json": lambda path, changes: path.write_text(json.dumps(changed(json.loads(path.read_text()), changes))),
    "replace": _replace,
}
"""Kinds of content, and how each is written."""


def changed(content: Any, changes: Mapping[str, Any]) -> Any:
    """Set values of nested objects by dotted keys; the value REMOVED takes the key out."""
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = content
        for parent in parents:
            place = place[parent]
        if value == "REMOVED":
            del place[last]
        else:
            place[last] = value
    return content
