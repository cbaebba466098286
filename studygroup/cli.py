"""The program `studygroup`: the same names and defaults as in Python.

Results go to standard output, everything else to standard error. The exit code is 0, 1 for an error, 2 for a command line that
cannot be understood, and 130 after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

from studygroup import api
from studygroup.command_line import COMMANDS, STREAMED, WITH_METHOD, UsageError, read_words
from studygroup.errors import TrainingError, UserError
from studygroup.escape import visible
from studygroup.options import TrainOptions
from studygroup.parameters import parameters_of
from studygroup.terminal import VisibleFormatter

RANK = os.environ.get("RANK", "0")  # of several processes that torchrun has started, rank 0 prints


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: arguments after `studygroup`; by default those of the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    show_traceback = "--traceback" in words
    try:
        with _messages_on_stderr():
            return _run(words)
    except UsageError as error:
        return _fail(f"error: {error}", 2)  # a traceback into the parser is of no use
    except KeyboardInterrupt as stop:
        return _fail(f"interrupted{': ' if stop.args else ''}{_line(stop)}", 130, show_traceback)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # as after `| head`
        return 1
    except (UserError, TrainingError) as error:
        if getattr(error, "__notes__", None):  # rank 0 has printed it
            return 1
        return _fail(f"error: {_line(error)}", 1, show_traceback)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"error: {error.strerror}{where}" if error.strerror else f"error: {_line(error)}", 1, show_traceback)
    except Exception as error:  # noqa: BLE001 (users get one line, and the traceback on request)
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
            return _fail("error: out of memory; take a smaller --batch-size, network or image size, or more memory", 1, show_traceback)
        hint = "" if show_traceback else "; run again with --traceback to see where"
        return _fail(f"error: {type(error).__name__}: {_line(error)}{hint}", 1, show_traceback)


def _run(words: list[str]) -> int:
    given = read_words(words)
    if given is None:
        return 2
    arguments = given.arguments
    if given.without_data is not None:
        from studygroup.recipes import with_recipe

        group = COMMANDS[given.command][1]
        groups = (TrainOptions,) if given.command in WITH_METHOD else (TrainOptions, group)  # a recipe is one of `train`, or of `compare`
        arguments = with_recipe(given.settings.get("config"), groups, group, arguments, given.method_options)
        if "data" not in arguments:
            raise UsageError(given.without_data)
    return _call(given.command, arguments, given.settings.get("format", "table"))


def _call(command: str, arguments: dict[str, object], style: str) -> int:
    """Call the command's function and print its result; return the exit code, 1 if a part failed."""
    name, group = COMMANDS[command]
    function: Callable[..., object] = getattr(api, "stream_predictions" if style in STREAMED else name)
    known = parameters_of(group)
    given = [arguments.pop(name) for name, parameter in known.items() if parameter.positional and name in arguments]
    result = function(*given, **arguments)
    if RANK != "0":
        return 0
    from studygroup import output

    output.print_result(style, command, result, arguments)
    return 1 if isinstance(result, Mapping) and result.get("failed") else 0


@contextlib.contextmanager
def _messages_on_stderr() -> Iterator[None]:
    """Print the package's log and all warnings to standard error, one line each."""

    def show_warning(message: Warning | str, *_: object, **__: object) -> None:
        if RANK == "0":
            print(visible(f"studygroup: note: {' '.join(str(message).split())}"), file=sys.stderr)

    logger = logging.getLogger("studygroup")
    handler = logging.StreamHandler()
    handler.setFormatter(VisibleFormatter("%(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if RANK == "0" else logging.ERROR)
    with warnings.catch_warnings():
        warnings.showwarning = cast("Callable[..., None]", show_warning)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


def _fail(message: str, code: int, show_traceback: bool = False) -> int:
    if show_traceback:
        print(visible(traceback.format_exc()), end="", file=sys.stderr)
    who = "studygroup" if RANK == "0" else f"studygroup, rank {RANK}"
    print(visible(f"{who}: {message}"), file=sys.stderr)
    return code


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
