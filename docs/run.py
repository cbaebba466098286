"""Run the code blocks of the pages, and check or renew the outputs that they show.

    python -m docs.run                          all pages; what is unchanged since it last ran is not run again
    python -m docs.run docs/predict.md --again  one page, in any case
    python -m docs.run --update                 also write the outputs of `console` and `pycon` blocks into the pages

Every page has a folder of its own with the stand-ins of `docs/stand_ins.py`, and its blocks are run in order. Tutorials run as they stand;
on other pages trainings are short (`docs/quick/sitecustomize.py`). An output agrees with the page if it has the same lines, but for numbers
and order; a line `...` on the page stands for any lines. A success is kept in
build/docs, under the hash of the page's blocks, the package and the runner.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from docs import stand_ins
from docs.blocks import COMMANDS, ROOT, WITH_OUTPUT, Block, Command, check, commands, pages, read_blocks

BUILD = ROOT / "build" / "docs"
QUICK = ROOT / "docs" / "quick"
IN_FULL = "docs/tutorials/"  # pages whose trainings are not shortened
LIMIT = 3600  # seconds of one command: those of a busy machine
SHELL = re.compile(r"[|<>;&*$`]")
NUMBER = re.compile(r"[+-]?\d[\d,]*(\.\d+)?([eE][+-]?\d+)?|·|–")  # tables have `·` for 0 and `–` for none
UNIT = re.compile(r"\b0 (ms|µs|s|min|h)\b")
ELLIPSIS = "..."
FORK = multiprocessing.get_context("fork")


class BlockError(Exception):
    """A block that fails, or whose output the page shows wrongly."""


def source_hash() -> str:
    """Return the hash of the package and of what runs the blocks."""
    digest = hashlib.sha256()
    sources = [*ROOT.glob("studygroup/**/*.py"), *ROOT.glob("recipes/*.py"), *QUICK.glob("*.py"), Path(__file__), Path(stand_ins.__file__)]
    for path in sorted(sources):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def environment(page: str) -> dict[str, str]:
    """Return what the commands of a page find in their environment."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "STUDYGROUP_CACHE": str(BUILD / "cache"),
        "STUDYGROUP_DOCS": "full" if page.startswith(IN_FULL) else "quick",
        "PYTHONPATH": os.pathsep.join([str(QUICK), *paths]),
        "PATH": os.pathsep.join([str(BUILD / "bin"), os.environ["PATH"]]),
        "COLUMNS": "100",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }


def prepare(key: str) -> Path:
    """Make the stand-ins, unless these are there, and the programs `python` and `studygroup` of this environment."""
    programs = BUILD / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, arguments in (("python", ""), ("studygroup", "-m studygroup ")):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments}"$@"\n')
        (programs / name).chmod(0o755)
    folder = BUILD / f"stand-ins-{key}"
    if not folder.is_dir():
        for old in BUILD.glob("stand-ins-*"):
            shutil.rmtree(old)
        unfinished = BUILD / "stand-ins-unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        stand_ins.build(unfinished, lambda words: train_stand_in(words, unfinished))
        unfinished.rename(folder)
    return folder


def train_stand_in(words: list[str], folder: Path) -> None:
    """Run `studygroup` for the stand-ins; raise BlockError if it fails."""
    printed = folder / ".printed"
    if forked(words, printed, folder, environment("")):
        raise BlockError(f"studygroup {shlex.join(words)}:\n{printed.read_text(encoding='utf-8')}")


class PageRun:
    """The blocks of one page in a folder, in order."""

    def __init__(self, page: str, template: Path, update: bool) -> None:
        self.folder = BUILD / "pages" / page.replace("/", "-").removesuffix(".md")
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(template, self.folder)
        for name in ("recipes", "studies"):
            (self.folder / name).symlink_to(ROOT / name)
        self.environment = environment(page) | ({"STUDYGROUP_DOCS_UPDATE": "1"} if update else {})
        if page.startswith(IN_FULL):  # what is prepared once is said once
            self.environment["STUDYGROUP_CACHE"] = str(self.folder / ".cache")
        self.given = {str(path.relative_to(self.folder)) for path in self.folder.glob("runs/*")}
        self.connection, theirs = FORK.Pipe()
        self.python = FORK.Process(target=serve, args=(theirs, self.folder, self.environment), daemon=False)
        self.python.start()

    def run(self, block: Block) -> list[str]:
        """Run a block and return the outputs of its commands."""
        self.make_way(block.code)
        if block.file:
            (self.folder / block.file).write_text(block.code, encoding="utf-8")
            return []
        if block.language in COMMANDS:
            return [self.command(block, command) for command in commands(block)]
        if block.language == "pycon":
            return [self.execute(block, command.text, "single") for command in commands(block)]
        return [self.execute(block, block.code, "exec")]

    def execute(self, block: Block, code: str, mode: str) -> str:
        """Run code in the page's Python and return what it printed."""
        self.connection.send((code, block.place, mode))
        while not self.connection.poll(1):
            if not self.python.is_alive():
                raise BlockError(f"{block.place}: Python ended")
        printed, error = self.connection.recv()
        if error:
            raise BlockError(f"{block.place}: {error}")
        return str(printed)

    def make_way(self, code: str) -> None:
        """Delete given runs that a block trains itself."""
        for found in re.findall(r"""(?:--out |out=["'])([\w/.-]+)""", code):
            if found in self.given:
                self.given.remove(found)
                shutil.rmtree(self.folder / found)

    def command(self, block: Block, command: Command) -> str:
        """Run a command and return what it printed."""
        words = shlex.split(command.text, comments=True)
        printed = self.folder / ".printed"
        variables = self.environment | ({"STUDYGROUP_DOCS": "full"} if block.in_full else {})
        if words[0] == "studygroup" and not SHELL.search(" ".join(words)):
            code = forked(words[1:], printed, self.folder, variables)
        else:
            with printed.open("w") as file:
                shell = ["bash", "-e", "-o", "pipefail", "-c", command.text]
                kept = {**os.environ, **variables}
                code = subprocess.run(shell, cwd=self.folder, env=kept, stdout=file, stderr=file, timeout=LIMIT, check=False).returncode
        output = printed.read_text(encoding="utf-8")
        if code != 0 and not command.shown.rstrip().endswith(f"exit code {code}"):
            raise BlockError(f"{block.place}: `{command.text}` ended with {code}:\n{output[-3000:]}")
        return output

    def close(self) -> None:
        """End the page's Python and delete its folder."""
        self.connection.send(None)
        self.python.join(10)
        if self.python.is_alive():
            self.python.terminate()
        shutil.rmtree(self.folder)


def enter(folder: Path, variables: dict[str, str]) -> None:
    """Go to a page's folder, with its environment, in a forked process."""
    os.chdir(folder)
    os.environ.update(variables)
    sys.path.insert(0, "")  # as of `python`
    runpy.run_path(str(QUICK / "sitecustomize.py"))


def forked(words: list[str], printed: Path, folder: Path, variables: dict[str, str]) -> int:
    """Run `studygroup` with arguments in a forked process, and return its exit code."""
    process = FORK.Process(target=studygroup_command, args=(words, printed, folder, variables))
    process.start()
    process.join(LIMIT)
    if process.exitcode is None:
        process.terminate()
        raise BlockError(f"`studygroup {shlex.join(words)}` took more than {LIMIT} s")
    return process.exitcode


def studygroup_command(words: list[str], printed: Path, folder: Path, variables: dict[str, str]) -> None:
    """Run the command line in a forked process, which has imported torch already."""
    from studygroup.cli import main

    with printed.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    enter(folder, variables)
    code = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve(connection: Any, folder: Path, variables: dict[str, str]) -> None:
    """Run the Python blocks of a page as they arrive; all share their names."""
    enter(folder, variables)
    names: dict[str, Any] = {"__name__": "__main__", "keep": keep}
    while (received := connection.recv()) is not None:
        code, place, mode = received
        printed, error = io.StringIO(), ""
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
                exec(compile(code, place, mode), names)
        except BaseException:  # noqa: BLE001 (reported)
            error = traceback.format_exc(limit=-4)
        connection.send((printed.getvalue(), error))


def keep(picture: str, name: str) -> None:
    """Copy a picture of the run into docs/figures, when the outputs of a page are renewed."""
    content = Path(picture).read_bytes()
    if os.environ.get("STUDYGROUP_DOCS_UPDATE"):
        (ROOT / "docs" / "figures" / name).write_bytes(content)


def agrees(shown: str, printed: str) -> bool:
    """Return whether the lines on a page are those of the run, but for numbers and order; with a line `...`, some of them."""
    on_page, in_run = (Counter(filter(None, map(masked, text.splitlines()))) for text in (shown, printed))
    return on_page <= in_run if on_page.pop(ELLIPSIS, 0) else on_page == in_run


def renewed_lines(shown: str, printed: str) -> str:
    """Return an output for a page: all that was printed, or, of one with lines `...`, the lines that it shows, as they are now."""
    lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
    if agrees(shown, printed) and ELLIPSIS in shown.splitlines():
        pool: dict[str, list[str]] = {}
        for line in lines:
            pool.setdefault(masked(line), []).append(line)
        lines = [pool[masked(line)].pop(0) if line != ELLIPSIS and masked(line) else line for line in shown.splitlines()]
    return "".join(f"{line}\n" for line in lines)


def masked(line: str) -> str:
    """Return a line with its numbers, rules and spaces made equal."""
    return " ".join(re.sub(r"─+", "─", UNIT.sub("0 s", NUMBER.sub("0", line))).split())


def run_page(page: Path, template: Path, update: bool) -> None:
    """Run the blocks of a page.

    Raises:
        BlockError: a block fails, or the page shows another output; with `update` it is written into the page instead.
    """
    blocks = read_blocks(page)
    run = PageRun(blocks[0].page, template, update)
    text = page.read_text(encoding="utf-8")
    try:
        for block in blocks:
            check(block)
            if not block.runs:
                continue
            outputs = run.run(block)
            if block.language in WITH_OUTPUT:
                renewed = renew(block, outputs, update)
                text = text.replace(block.code, renewed)
    finally:
        run.close()
    if text != page.read_text(encoding="utf-8"):
        page.write_text(text, encoding="utf-8")
        print(f"{blocks[0].page}: outputs renewed")


def renew(block: Block, outputs: list[str], update: bool) -> str:
    """Return a block with the outputs of the run; parts that the page leaves out with `...` stay as they are."""
    parts = []
    for command, printed in zip(commands(block), outputs, strict=True):
        fits = agrees(command.shown, printed)
        if not fits and not update:
            raise BlockError(f"{block.place}: `{command.text.strip()}` prints\n{printed}\nbut the page shows\n{command.shown}")
        parts.append(command.typed + (renewed_lines(command.shown, printed) if update else command.shown))
    return "".join(parts)


def result_file(page: Path, sources: str) -> Path:
    """Return where the success of a page is recorded."""
    blocks = json.dumps(
        [[block.language, block.code, block.not_run, block.program, block.in_full, block.file] for block in read_blocks(page)]
    )
    key = hashlib.sha256(f"{sources}\n{page.name}\n{blocks}".encode()).hexdigest()[:24]
    return BUILD / "done" / f"{page.relative_to(ROOT).as_posix().replace('/', '-')}-{key}"


def run_pages(chosen: list[Path], *, again: bool = False, update: bool = False) -> dict[str, str]:
    """Run pages that have not run as they are; return what failed by page."""
    import sklearn.linear_model  # noqa: F401 (imported once, for all the forked processes)
    import torch  # noqa: F401

    import studygroup.training.trainer  # noqa: F401

    sources = source_hash()
    todo = [page for page in chosen if any(block.runs for block in read_blocks(page))]
    todo = [page for page in todo if again or update or not result_file(page, sources).exists()]
    if not todo:
        return {}
    template = prepare(sources)
    failed = {}
    for page in todo:
        started = time.monotonic()
        name = page.relative_to(ROOT).as_posix()
        try:
            run_page(page, template, update)
        except (BlockError, ValueError, subprocess.TimeoutExpired) as error:
            failed[name] = str(error)
            print(f"\n{error}\n", file=sys.stderr, flush=True)
        else:
            done = result_file(page, sources)
            done.parent.mkdir(parents=True, exist_ok=True)
            done.touch()
        print(f"{name}: {'failed' if name in failed else 'ok'}, {time.monotonic() - started:.0f} s", flush=True)
    return failed


def main() -> int:
    """Run the pages that the arguments name, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path)
    parser.add_argument("--again", action="store_true", help="run pages that have not changed, too")
    parser.add_argument("--update", action="store_true", help="write the outputs into the pages")
    given = parser.parse_args()
    chosen = [page.resolve() for page in given.pages] or pages()
    failed = run_pages(chosen, again=given.again, update=given.update)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
