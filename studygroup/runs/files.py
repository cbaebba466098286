"""Read and write the JSON files of a run folder."""

from __future__ import annotations

import json
from pathlib import Path

from studygroup.atomic import write_atomically


def write_json(path: Path, content: object) -> None:
    """Write JSON, atomically."""
    write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
