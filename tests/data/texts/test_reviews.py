"""The archives of Zhang et al.: read as published, and refused where they are not."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from studygroup.data.texts.reviews import AmazonReviewFull, Reviews, YahooAnswers, YelpReviewFull
from studygroup.errors import UserError
from tests.data.texts.helpers import pack, read, rows, source_args

SETS = {AmazonReviewFull: 2, YahooAnswers: 3, YelpReviewFull: 1}  # number of fields of a text


def csv(*table: tuple[str, ...]) -> bytes:
    """Rows as published: all fields in quotes, quotes in them doubled."""
    return "".join(",".join('"{}"'.format(field.replace('"', '""')) for field in row) + "\n" for row in table).encode()


def members(kind: type[Reviews]) -> dict[str, bytes]:
    """The files of an archive as published."""
    fields = SETS[kind]

    def row(label: int, text: str) -> tuple[str, ...]:
        return (str(label), *[f"{text} {i}" for i in range(fields)])

    files = {
        "readme.txt": b"a description",
        "train.csv": csv(row(1, 'a "good" one\\n\\nor, not; caf\u00e9 \\'), row(len(kind.classes), "x"), ("2", *[""] * fields)),
        "test.csv": csv(row(3, "test")),
    }
    if kind is YahooAnswers:
        files["classes.txt"] = "".join(f"{label}\n" for label in kind.classes).encode()
    return {f"{kind.name}_csv/{file}": content for file, content in files.items()}


def expected(kind: type[Reviews]) -> dict[str, list[tuple[str, str]]]:
    classes, fields = kind.classes, SETS[kind]
    texts = ['a "good" one\n\nor, not; café \\', "x", "test"]
    joined = [" ".join(f"{text} {i}" for i in range(fields)) for text in texts]
    return {"train": [(joined[0], classes[0]), (joined[1], classes[-1]), ("", classes[1])], "test": [(joined[2], classes[2])]}


@pytest.mark.parametrize("kind", SETS)
def test_archive(tmp_path: Path, cache: Path, kind: type[Reviews]) -> None:
    path = pack(tmp_path / f"{kind.name}_csv.tgz", members(kind))
    keys = set()
    for location in (path, tmp_path):
        source = kind(*source_args(location, cache))
        assert source.name == kind.name
        assert source.read().classes == kind.classes
        assert read(source) == expected(kind)
        keys.add(source.key())
    assert len(keys) == 1
    pack(path, {**members(kind), "more": b""})
    assert kind(*source_args(path, cache)).key() not in keys


@pytest.mark.parametrize("kind", SETS)
def test_unpacked_folder(tmp_path: Path, cache: Path, kind: type[Reviews]) -> None:
    for member, content in members(kind).items():
        (tmp_path / member).parent.mkdir(exist_ok=True)
        (tmp_path / member).write_bytes(content)
    for path in (tmp_path, tmp_path / f"{kind.name}_csv"):
        assert read(kind(*source_args(path, cache))) == expected(kind)
    key = kind(*source_args(tmp_path, cache)).key()
    (tmp_path / f"{kind.name}_csv" / "test.csv").write_bytes(b"")
    assert kind(*source_args(tmp_path, cache)).key() != key


def test_published_classes() -> None:
    assert YelpReviewFull.classes == AmazonReviewFull.classes == ("1", "2", "3", "4", "5")
    topics = YahooAnswers.classes
    assert len(topics) == 10
    assert (topics[0], topics[4], topics[9]) == ("Society & Culture", "Computers & Internet", "Politics & Government")


def test_unreadable_rows(tmp_path: Path, cache: Path) -> None:
    table = csv(("1", "a"), ("0", "a"), ("6", "a"), ("good", "a"), ("1", "a", "b"), ("2", "b")) + b'"3","caf\xe9"\n"3"\n"4","open\n'
    files = {**members(YelpReviewFull), "yelp_review_full_csv/train.csv": table}
    path = pack(tmp_path / "yelp_review_full_csv.tgz", files)
    contents = YelpReviewFull(*source_args(path, cache, on_error="skip")).read()
    assert rows(contents) == [("a", "1"), ("b", "2")]
    assert contents.unreadable == [
        "row 2 of train.csv (line 2: the label '0' is not from 1 to 5)",
        "row 3 of train.csv (line 3: the label '6' is not from 1 to 5)",
        "row 4 of train.csv (line 4: the label 'good' is not from 1 to 5)",
        "row 5 of train.csv (line 5: 3 fields instead of 2)",
        "row 7 of train.csv (line 7: bytes that are not utf-8; give another encoding by --encoding)",
        "row 8 of train.csv (line 8: 1 field instead of 2)",
        "row 9 of train.csv (line 9: a quote that is not closed)",
    ]
    with pytest.raises(UserError, match=r"row 2 of train.csv \(line 2: the label '0' is not from 1 to 5\) cannot be read"):
        read(YelpReviewFull(*source_args(path, cache)))


def test_another_data_set_is_refused(tmp_path: Path, cache: Path) -> None:
    path = pack(tmp_path / "x.tgz", members(AmazonReviewFull))
    with pytest.raises(UserError, match=r"x.tgz has no yelp_review_full_csv/train.csv; give the published yelp_review_full_csv.tgz"):
        read(YelpReviewFull(*source_args(path, cache)))
    files = {name.replace("amazon", "yelp"): content for name, content in members(AmazonReviewFull).items()}
    with pytest.raises(UserError, match="3 fields instead of 2"):
        read(YelpReviewFull(*source_args(pack(path, files), cache)))


def test_damaged_archives(tmp_path: Path, cache: Path) -> None:
    files = members(YelpReviewFull)
    files["yelp_review_full_csv/train.csv"] = csv(*[(str(i % 5 + 1), f"text {i * i * 7919}") for i in range(5000)])
    path = pack(tmp_path / "yelp_review_full_csv.tgz", files)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-8], content[:-8] + bytes(8), b"", b"no archive", gzip.compress(b"no tar")):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"yelp_review_full_csv.tgz (is damaged or cut off .*; get it again|has no yelp)"):
            read(YelpReviewFull(*source_args(path, cache)))


def test_missing_data_and_useless_options_are_named(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=r"yahoo_answers is not there; get yahoo_answers_csv.tgz from .* and give it as yahoo_answers:PATH"):
        YahooAnswers(*source_args(None, cache))
    with pytest.raises(
        UserError, match=r"yahoo_answers cannot be fetched: there is no lasting address; get yahoo_answers_csv.tgz from http"
    ):
        YahooAnswers(*source_args(None, cache, download=True))
    with pytest.raises(UserError, match=r"holds neither yahoo_answers_csv.tgz nor train.csv and test.csv"):
        YahooAnswers(*source_args(tmp_path, cache))
    with pytest.raises(UserError, match="no columns"):
        YahooAnswers(*source_args(tmp_path, cache, label_column="label"))
    with pytest.raises(UserError, match="encoding of its own"):
        YahooAnswers(*source_args(tmp_path, cache, encoding="utf-8"))
