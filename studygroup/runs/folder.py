"""Lock, check and clear a run folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from studygroup.errors import UserError
from studygroup.lock import lock_dir
from studygroup.runs.contents import MARK, kind_of_folder, names_in, walk
from studygroup.runs.layout import RunFiles


@contextmanager
def lock_run_dir(folder: Path, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Create or open a run folder and lock it for this process; nothing in it is ever overwritten silently.

    Raises:
        UserError: the folder holds something else than a run, or a run and neither `resume` nor `overwrite` is given, or another process
            has locked it.
    """
    with ExitStack() as stack:
        try:
            check_run_dir(folder, resume=resume, overwrite=overwrite)
            stack.enter_context(lock_dir(folder))
            check_run_dir(folder, resume=resume, overwrite=overwrite)  # another process may have been first
            if overwrite:
                clear_dir(folder)
            probe = folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}; take another --out") from error
        yield


def check_run_dir(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise UserError if the content of a folder, which need not exist, must stay as it is."""
    content = names_in(folder)
    if content and kind_of_folder(folder) != "run":
        raise UserError(f"{folder} is not empty and holds no run ({', '.join(content[:3])}); take another --out")
    if content and not overwrite and not resume:
        raise UserError(f"{folder} already holds a run; take another --out, continue it with --resume, or delete it with --overwrite")
    if content and overwrite:
        check_own(folder)


def check_own(folder: Path) -> None:
    """Raise UserError, naming them, if a folder holds files that studygroup has not written."""
    odd = ["/".join(item.parts) + ("/" if item.is_dir else "") for item in walk(folder) if not item.known]
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise UserError(
            f"{folder} holds more than studygroup has written ({', '.join(odd[:3])}{more}), so nothing was deleted; "
            "move that elsewhere, or take another --out"
        )


def clear_dir(folder: Path) -> None:
    """Delete what studygroup has written to a folder, but not the folder itself, which may be locked.

    Raises:
        UserError: it holds other files; nothing is deleted.
        OSError: something cannot be deleted, or came in meanwhile.
    """
    check_own(folder)
    found = sorted(walk(folder), key=lambda item: (item.parts == (MARK,), -len(item.parts)))  # content first, the mark last
    for item in found:
        path = folder.joinpath(*item.parts)
        if item.is_dir:
            path.rmdir()
        else:
            path.unlink()


def remove_empty_run(folder: Path) -> None:
    """Remove a run folder in which nothing was trained: a failed first try must not block the next one."""
    files = RunFiles(folder)
    if any(folder.rglob("*.ckpt")) or files.result.exists():
        return
    for path in (files.config, files.data, files.environment, files.metrics, folder / MARK):
        path.unlink(missing_ok=True)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()
