"""Reports: one HTML file for a run, for several, for a comparison or for a study. Reads files only, without torch.

What a page shows is gathered into dataclasses (`run.py`, `runs.py`, `comparison.py`, `study.py`); plots are data, too (`plots.py`). The
templates in `templates/` only write it down; its one script makes plots, tables and tabs answer to the pointer and to the keyboard.
"""

from __future__ import annotations

from studygroup.pages.write import kind_of, try_to_write_page, write_page, write_runs_page

__all__ = ["kind_of", "try_to_write_page", "write_page", "write_runs_page"]
