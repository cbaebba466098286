"""`python -m studygroup` is the command `studygroup`."""

from __future__ import annotations

import sys
from pathlib import Path

# Python has put the working directory first, where a file could stand in for any module that is imported from here on. It stays only if
# this package is in it, and last.
if not sys.flags.safe_path:
    directory = sys.path.pop(0)
    if Path(__file__).parent.parent == Path(directory):
        sys.path.append(directory)

from studygroup.cli import main

sys.exit(main())
