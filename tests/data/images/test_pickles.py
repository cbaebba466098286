"""The restricted unpickler: what it reads, forged arrays and dtypes, and programs of random opcodes."""

from __future__ import annotations

import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studygroup.data.images.pickles import OPCODES, ForbiddenPickle, load

ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
BYTES = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_and_plain_values(protocol: int, order: str) -> None:
    array = np.asarray(np.arange(12, dtype=np.uint8).reshape(3, 4), order=order)  # type: ignore[call-overload]
    value = {b"data": array, b"labels": [1, 2, 300, -1], b"empty": b"", b"names": ["é", b"x" * 300], b"nested": [(array, None, True)]}
    found = load(pickle.dumps(value, protocol=protocol))
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found[b"data"], array)
    np.testing.assert_array_equal(found[b"nested"][0][0], array)
    assert {key: found[key] for key in (b"labels", b"empty", b"names")} == {key: value[key] for key in (b"labels", b"empty", b"names")}


def test_what_python_2_writes() -> None:
    found = load(b"\x80\x02" + ARRAY + b"(K\x01K\x02K\x03\x86" + BYTES + b"\x89U\x06abcdeftb.")
    np.testing.assert_array_equal(np.asarray(found), np.frombuffer(b"abcdef", np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    "program",
    [
        # an object array over raw bytes, whose elements are pointers
        b"cnumpy\nndarray\n(K\x01\x85cnumpy\ndtype\n(U\x01OK\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbU\x08AAAAAAAAtR.",
        b"cnumpy\ndtype\n(U\x01OK\x00K\x01tR.",
        ARRAY + b"(K\x01K\x01\x85cnumpy\ndtype\n(U\x02O8K\x00K\x01tR\x89U\x08AAAAAAAAtb.",
        # the dtype of bytes with the state of another
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb.",
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb.",
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tRK\x03b.",
        # arrays whose bytes are not theirs
        ARRAY + b"(K\x01K\x09\x85" + BYTES + b"\x89U\x08AAAAAAAAtb.",
        ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + BYTES + b"\x89U\x01Atb.",
        ARRAY + b"(K\x01\x88\x85" + BYTES + b"\x89U\x01Atb.",  # True for a size
        ARRAY + b"(K\x01K\x01\x85" + BYTES + b"\x89](K\x41etb.",
        ARRAY + b"K\x01b.",
        ARRAY + b".",  # without a state
        # what the stand-ins are
        b"cnumpy\nndarray\n.",
        b"cnumpy\ndtype\n.",
        b"}" + BYTES + b"K\x01s.",
        # numbers that size an allocation
        b"]r\xff\xff\xff\x7f.",
        b"]p999999999\n.",
        b"\x80\x04\x96\xff\xff\xff\x7f\x00\x00\x00\x00.",
        # other ways to call something
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",
        b"Ptrue\n.",
        b"\x80\x02\x82\x01.",
        b"cbuiltins\nbytearray\nK\x09\x85R.",
        b"(" * 30 + b"t" * 30 + b".",
    ],
)
def test_forged_pickles(program: bytes) -> None:
    with pytest.raises((ForbiddenPickle, ValueError, pickle.UnpicklingError)):
        load(program)


@pytest.mark.parametrize(
    "program", [b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.", b"cnumpy\nndarray\nK\x01\x85R.", b"cnumpy\nndarray\n}b."]
)
def test_stand_ins_cannot_be_called_or_changed(program: bytes) -> None:
    with pytest.raises((TypeError, AttributeError, ForbiddenPickle)):
        load(program)


ERRORS = (pickle.UnpicklingError, ValueError, TypeError, AttributeError, LookupError, EOFError, OverflowError, MemoryError)
NAMES = [
    *(b"numpy\nndarray\n", b"numpy\ndtype\n", b"numpy.core.multiarray\n_reconstruct\n"),
    *(b"_codecs\nencode\n", b"builtins\nbytes\n", b"os\nsystem\n"),
]
SMALL = st.binary(max_size=12)
INSTRUCTIONS = st.one_of(
    st.sampled_from([op.code.encode("latin1") for op in pickletools.opcodes if op.arg is None and op.name != "STOP"]),
    st.sampled_from([b"c" + name for name in NAMES]),
    st.sampled_from([ARRAY, BYTES]),
    SMALL.map(lambda text: b"U" + bytes([len(text)]) + text),
    st.integers(-(2**31), 2**31 - 1).map(lambda number: b"J" + number.to_bytes(4, "little", signed=True)),
    st.integers(0, 5).map(lambda number: b"K" + bytes([number])),
    st.integers(0, 5).map(lambda number: b"q" + bytes([number])),
    st.integers(0, 5).map(lambda number: b"h" + bytes([number])),
    st.sampled_from([b"u1", b"O", b"i8", b"|", b"<", b"b"]).map(lambda text: b"U" + bytes([len(text)]) + text),
)


@settings(max_examples=2000, deadline=None)
@given(st.lists(INSTRUCTIONS, max_size=30))
def test_random_programs_build_plain_values_or_nothing(program: list[bytes]) -> None:
    try:
        found = load(b"".join(program) + b".")
    except ERRORS:  # reported as a damaged file; the process must survive
        return
    assert plain(found)


def plain(value: object) -> bool:
    if isinstance(value, np.ndarray):
        return bool(value.dtype == np.uint8) and len(repr(value.tobytes())) > 0
    if isinstance(value, dict):
        return all(map(plain, value.keys())) and all(map(plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or isinstance(value, str | bytes | int | float)


def test_the_opcodes_exist() -> None:
    assert {op.name for op in pickletools.opcodes} >= OPCODES
