"""The campaign's table, its judgement and its record; what it tries takes half an hour and is no test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaign import __main__ as campaign
from tests.campaign import inputs
from tests.campaign.process import Case, Verdict, run_cases
from tests.campaign.world import World, differences


def test_the_table_is_large_and_says_what_is_expected() -> None:
    entries = inputs.entries()
    assert len(entries) >= 500
    assert len({entry.name for entry in entries}) == len(entries)
    assert all(entry.words.strip() and len(entry.expected) >= 8 for entry in entries)
    kinds = {kind for entry in entries for content in entry.files.values() if isinstance(content, dict) for kind in content}
    assert kinds <= set(inputs.WRITERS)


@pytest.mark.parametrize(
    ("code", "text", "wrong"),
    [
        (1, "studygroup: error: epochs is 0; give more", ""),
        (0, "fine", "it ends with 0"),
        (-11, "", "it ends with -11"),
        (None, "working", "it hangs: working"),
        (1, "studygroup: error: KeyError: 'data'; run again with --traceback", "a raw error"),
        (1, "Traceback (most recent call last):\nstudygroup: error: epochs is 0", "a raw error"),
        (1, "studygroup: error: something else", "not 'epochs is 0'"),
        (1, "epochs is 0", "not 'epochs is 0'"),
        (1, "\x1b[31m\nstudygroup: error: epochs is 0", "control characters"),
    ],
)
def test_how_a_command_may_end(code: int | None, text: str, wrong: str) -> None:
    found = inputs.problem(code, text, "epochs is 0")
    assert found.startswith(wrong) if wrong else not found


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., dict[str, Verdict]]:
    def run(*cases: Case) -> dict[str, Verdict]:
        return dict(run_cases(iter(cases), tmp_path, until=float("inf"), jobs=2))

    return run


def test_a_case_may_crash_or_hang(judged: Callable[..., dict[str, Verdict]]) -> None:
    def crash() -> Verdict:
        import faulthandler
        import os
        import signal

        faulthandler.disable()  # pytest's would print a trace into the output of the tests
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError

    def hang() -> Verdict:
        import time

        time.sleep(60)
        raise AssertionError

    def fail() -> Verdict:
        raise KeyError("data")

    found = judged(Case("good", lambda: Verdict(3)), Case("crash", crash), Case("hang", hang, seconds=0.5), Case("fail", fail))
    assert found["good"] == Verdict(3)
    assert "it ended with -11" in found["crash"].defects[0]
    assert "it hangs" in found["hang"].defects[0]
    assert "it ended with 70" in found["fail"].defects[0]


def test_runs_are_compared_but_for_times(tmp_path: Path) -> None:
    for name, seconds in (("a", 1.0), ("b", 2.0)):
        (tmp_path / name / "members").mkdir(parents=True)
        (tmp_path / name / "members" / "best.safetensors").write_bytes(b"weights")
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "seconds": seconds}) + "\n")
    assert differences(tmp_path / "a", tmp_path / "b") == []
    (tmp_path / "b" / "members" / "best.safetensors").write_bytes(b"weighty")
    (tmp_path / "b" / ".result.json.part").write_bytes(b"")
    (tmp_path / "b" / "metrics.jsonl").write_text('{"epoch": 2}\n')
    found = " ".join(differences(tmp_path / "a", tmp_path / "b"))
    assert all(name in found for name in ("members/best.safetensors differs", "metrics.jsonl differs", ".result.json.part was left behind"))


def test_counts_are_appended_to_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    part = campaign.Part("bad inputs", lambda _: iter(()), 1.0, tried=1200, defects=["x"], skipped=["y: z"])
    campaign.record({"inputs": part}, World(tmp_path, 3, 30), page)
    text = page.read_text()
    assert text.startswith("# Page\n")
    assert "30 minutes, seed 3." in text
    assert "| inputs: bad inputs (skipped: y: z) | 1,200 | 1,199 | 1 |" in text


def test_parts_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        campaign.main(["--parts", "kill,nonsense"])
    assert "there is no part nonsense; the parts are inputs, kill" in capsys.readouterr().err
