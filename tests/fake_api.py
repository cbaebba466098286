"""Fake public functions for tests of the command line."""

from __future__ import annotations

import pytest

from studygroup import api, cli, output


class Calls(list[tuple[tuple[object, ...], dict[str, object]]]):
    """The recorded calls of a fake public function."""

    @property
    def kwargs(self) -> dict[str, object]:
        assert len(self) == 1
        return self[0][1]


def fake(monkeypatch: pytest.MonkeyPatch, name: str, result: object = None, error: BaseException | None = None) -> Calls:
    """Replace `api.NAME` by a function that checks its options, records the call, and returns `result` or raises `error`."""
    calls = Calls()
    original = getattr(api, name)

    def function(*args: object, **kwargs: object) -> object:
        original.options(*args, **kwargs)
        calls.append((args, kwargs))
        if error is not None:
            raise error
        return result

    function.__doc__ = original.__doc__
    monkeypatch.setattr(api, name, function)
    return calls


def fake_train(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Replace `api.train`, whose result is not printed then."""
    monkeypatch.setattr(output, "print_table", lambda *_: None)
    return fake(monkeypatch, "train")


def error_of(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    """Run a command that must fail with `code`; return its single line on standard error."""
    assert cli.main(words) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("studygroup: ")
    assert captured.err.count("\n") == 1
    return captured.err
