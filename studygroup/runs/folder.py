"""Lock, check and clear a run folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from studygroup.errors import UserError
from studygroup.lock import lock_dir
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
    content = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if content and not RunFiles(folder).exists():
        raise UserError(f"{folder} is not empty and holds no run ({', '.join(content[:3])}); take another --out")
    if content and not overwrite and not resume:
        raise UserError(f"{folder} already holds a run; take another --out, continue it with --resume, or delete it with --overwrite")


def clear_dir(folder: Path) -> None:
    """Delete the content of a folder, but not the folder itself, which may be locked."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove_empty_run(folder: Path) -> None:
    """Remove a run folder in which nothing was trained: a failed first try must not block the next one."""
    files = RunFiles(folder)
    if any(folder.rglob("*.ckpt")) or files.result.exists():
        return
    for path in (files.config, files.data, files.environment, files.metrics):
        path.unlink(missing_ok=True)
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()
