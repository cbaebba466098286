"""`python -m studygroup` is the command `studygroup`."""

from __future__ import annotations

import sys
from pathlib import Path

# Python has put the working directory first, where a file could stand in for any module that is imported from here on. It stays only if it
# is the one that this package is in.
if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parent.parent:
    del sys.path[0]

from studygroup.cli import main

sys.exit(main())
