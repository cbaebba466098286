"""`python -m studygroup` is the command `studygroup`."""

from __future__ import annotations

import sys

from studygroup.cli import main

sys.exit(main())
