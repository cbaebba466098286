"""From the command line to the first training step: seconds.

`studygroup train digits` with default options (CGL, 8 students) in a new process, from its start until the checkpoint of the first step is
on disk (`--checkpoint-steps 1`), which proves that the step was run; then the process is stopped. The data is prepared and the files are in
the page cache of the system: a first run does not count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import studygroup
from common import Row, main, row
from studygroup.training.timing import quartiles

TARGET = 8.0
PATIENCE = 300.0


def first_step(work: Path) -> float:
    """Seconds from the start of a training process to the end of its first step."""
    home = str(Path(studygroup.__file__).parents[1])
    with tempfile.TemporaryDirectory(dir=work) as out, open(work / "stderr", "w+", encoding="utf-8") as errors:
        words = ["train", "digits", "--checkpoint-steps", "1", "--cache", str(work / "cache"), "--out", f"{out}/run"]
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "studygroup", *words],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": home},
        )
        try:
            while not any(Path(out).glob("run/checkpoints/*.ckpt")):
                if process.poll() is not None or time.perf_counter() - start > PATIENCE:
                    raise RuntimeError(f"training came to no first step: {(work / 'stderr').read_text(encoding='utf-8')}")
                time.sleep(0.002)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


def measure(repeats: int, quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as work:
        first_step(Path(work))
        times = [first_step(Path(work)) for _ in range(1 if quick else repeats)]
    return [row("studygroup train digits: to the first step", quartiles(times), unit="s", target=TARGET, figures={"seconds": times})]


if __name__ == "__main__":
    main(__doc__, measure, repeats=5)
