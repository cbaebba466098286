"""The archives of Zhang et al.: read as published, and refused where they are not."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from studygroup.data.texts.reviews import REVIEW_SETS, Reviews
from studygroup.errors import UserError
from tests.data.texts import asked, pack, read, rows

NAMES = sorted(REVIEW_SETS)
FIELDS = {"yelp_review_full": 1, "amazon_review_full": 2, "yahoo_answers": 3}


def csv(*table: tuple[str, ...]) -> bytes:
    """Rows as published: all fields in quotes, quotes in them doubled."""
    return "".join(",".join('"{}"'.format(field.replace('"', '""')) for field in row) + "\n" for row in table).encode()


def members(name: str) -> dict[str, bytes]:
    """The files of an archive as published."""
    known, fields = REVIEW_SETS[name], FIELDS[name]

    def row(label: int, text: str) -> tuple[str, ...]:
        return (str(label), *[f"{text} {i}" for i in range(fields)])

    files = {
        "readme.txt": b"a description",
        "train.csv": csv(row(1, 'a "good" one\\n\\nor, not; caf\u00e9 \\'), row(len(known.classes), "x"), ("2", *[""] * fields)),
        "test.csv": csv(row(3, "test")),
    }
    if name == "yahoo_answers":
        files["classes.txt"] = "".join(f"{label}\n" for label in known.classes).encode()
    return {f"{known.folder}/{file}": content for file, content in files.items()}


def expected(name: str) -> dict[str, list[tuple[str, str]]]:
    classes, fields = REVIEW_SETS[name].classes, FIELDS[name]
    texts = ['a "good" one\n\nor, not; café \\', "x", "test"]
    joined = [" ".join(f"{text} {i}" for i in range(fields)) for text in texts]
    return {"train": [(joined[0], classes[0]), (joined[1], classes[-1]), ("", classes[1])], "test": [(joined[2], classes[2])]}


@pytest.mark.parametrize("name", NAMES)
def test_archive(tmp_path: Path, cache: Path, name: str) -> None:
    path = pack(tmp_path / f"{name}_csv.tgz", members(name))
    keys = set()
    for place in (path, tmp_path):
        source = Reviews(name, asked(place, cache))
        assert source.name == name
        assert source.read().classes == REVIEW_SETS[name].classes
        assert read(source) == expected(name)
        keys.add(source.key())
    assert len(keys) == 1
    pack(path, {**members(name), "more": b""})
    assert Reviews(name, asked(path, cache)).key() not in keys


@pytest.mark.parametrize("name", NAMES)
def test_unpacked_folder(tmp_path: Path, cache: Path, name: str) -> None:
    for member, content in members(name).items():
        (tmp_path / member).parent.mkdir(exist_ok=True)
        (tmp_path / member).write_bytes(content)
    for place in (tmp_path, tmp_path / f"{name}_csv"):
        assert read(Reviews(name, asked(place, cache))) == expected(name)
    key = Reviews(name, asked(tmp_path, cache)).key()
    (tmp_path / f"{name}_csv" / "test.csv").write_bytes(b"")
    assert Reviews(name, asked(tmp_path, cache)).key() != key


def test_classes_as_published() -> None:
    assert REVIEW_SETS["yelp_review_full"].classes == REVIEW_SETS["amazon_review_full"].classes == ("1", "2", "3", "4", "5")
    topics = REVIEW_SETS["yahoo_answers"].classes
    assert len(topics) == 10
    assert (topics[0], topics[4], topics[9]) == ("Society & Culture", "Computers & Internet", "Politics & Government")


def test_broken_rows(tmp_path: Path, cache: Path) -> None:
    table = csv(("1", "a"), ("0", "a"), ("6", "a"), ("good", "a"), ("1", "a", "b"), ("2", "b")) + b'"3","caf\xe9"\n"3"\n"4","open\n'
    files = {**members("yelp_review_full"), "yelp_review_full_csv/train.csv": table}
    path = pack(tmp_path / "yelp_review_full_csv.tgz", files)
    contents = Reviews("yelp_review_full", asked(path, cache, on_error="skip")).read()
    assert rows(contents) == [("a", "1"), ("b", "2")]
    assert contents.broken == [
        "row 2 of train.csv (line 2: the label '0' is not from 1 to 5)",
        "row 3 of train.csv (line 3: the label '6' is not from 1 to 5)",
        "row 4 of train.csv (line 4: the label 'good' is not from 1 to 5)",
        "row 5 of train.csv (line 5: 3 fields instead of 2)",
        "row 7 of train.csv (line 7: bytes that are not utf-8; another encoding is given by --encoding)",
        "row 8 of train.csv (line 8: 1 field instead of 2)",
        "row 9 of train.csv (line 9: a quote that is not closed)",
    ]
    with pytest.raises(UserError, match=r"row 2 of train.csv \(line 2: the label '0' is not from 1 to 5\) cannot be read"):
        read(Reviews("yelp_review_full", asked(path, cache)))


def test_another_set_is_noticed(tmp_path: Path, cache: Path) -> None:
    path = pack(tmp_path / "x.tgz", members("amazon_review_full"))
    with pytest.raises(UserError, match=r"x.tgz has no yelp_review_full_csv/train.csv; give the published yelp_review_full_csv.tgz"):
        read(Reviews("yelp_review_full", asked(path, cache)))
    files = {name.replace("amazon", "yelp"): content for name, content in members("amazon_review_full").items()}
    with pytest.raises(UserError, match="3 fields instead of 2"):
        read(Reviews("yelp_review_full", asked(pack(path, files), cache)))


def test_damaged_archives(tmp_path: Path, cache: Path) -> None:
    files = members("yelp_review_full")
    files["yelp_review_full_csv/train.csv"] = csv(*[(str(i % 5 + 1), f"text {i * i * 7919}") for i in range(5000)])
    path = pack(tmp_path / "yelp_review_full_csv.tgz", files)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-8], content[:-8] + bytes(8), b"", b"no archive", gzip.compress(b"no tar")):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"yelp_review_full_csv.tgz (is damaged or cut off .*; get it again|has no yelp)"):
            read(Reviews("yelp_review_full", asked(path, cache)))


def test_where_it_is_looked_for(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=r"yahoo_answers is not there; get yahoo_answers_csv.tgz from .* and give it as yahoo_answers:PATH"):
        Reviews("yahoo_answers", asked(None, cache))
    with pytest.raises(
        UserError, match=r"yahoo_answers cannot be fetched: there is no lasting address; get yahoo_answers_csv.tgz from http"
    ):
        Reviews("yahoo_answers", asked(None, cache, download=True))
    with pytest.raises(UserError, match=r"holds neither yahoo_answers_csv.tgz nor train.csv and test.csv"):
        Reviews("yahoo_answers", asked(tmp_path, cache))
    with pytest.raises(UserError, match="no columns"):
        Reviews("yahoo_answers", asked(tmp_path, cache, label_column="label"))
    with pytest.raises(UserError, match="encoding of its own"):
        Reviews("yahoo_answers", asked(tmp_path, cache, encoding="utf-8"))
