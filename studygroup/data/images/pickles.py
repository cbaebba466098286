"""Reading of pickles that hold arrays of bytes and plain values, as CIFAR's files do, and of no others.

A pickle is a program. This one may only build containers, texts, numbers and arrays of bytes: its opcodes are checked before it runs, and
where it names parts of NumPy it gets stand-ins, so that no code of NumPy runs on what it says. A real `numpy.dtype`, for example, can be
given a state in which an array's bytes are taken for pointers.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK"),
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}
MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
CODES = ("u1", b"u1", "uint8", b"uint8")
DTYPE_STATE = (3, "|", None, None, None, -1, -1, 0)  # of `u1`, as NumPy writes it; the bar may be a byte string
NDARRAY = object()  # stands for the class `numpy.ndarray`


class ForbiddenPickle(pickle.UnpicklingError):
    """A pickle needs an opcode, a class or a function that is not allowed; the message names it."""


def load(content: bytes) -> object:
    """Unpickle arrays of bytes, plain values, and containers of them.

    Args:
        content: of protocol 0 to 5.

    Returns:
        What was pickled; arrays are read-only.

    Raises:
        ForbiddenPickle: it contains anything else.
        Exception: any, if it is damaged.
    """
    check_opcodes(content)
    return _real(Restricted(io.BytesIO(content)).load())


def check_opcodes(content: bytes) -> None:
    """Check that a pickle has allowed opcodes only, and numbers its memo without gaps, which would allocate memory for them.

    Raises:
        ForbiddenPickle: it does not.
        ValueError: it is damaged.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name not in OPCODES:
            raise ForbiddenPickle(f"the opcode {opcode.name}")
        if opcode.name in MEMO and isinstance(argument, int) and argument > count:
            raise ForbiddenPickle(f"memo number {argument:,}")


class Array:
    """Stands for an array: only its state says what it holds."""

    def __init__(self) -> None:
        self.content: NDArray[np.uint8] | None = None

    def __setstate__(self, state: object) -> None:
        """Take the state of a NumPy array: version, shape, dtype, whether it is in Fortran's order, bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise ForbiddenPickle("an array with another state")
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, Dtype) or not isinstance(content, bytes):
            raise ForbiddenPickle("an array of other values than bytes")
        if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape) or math.prod(shape) != len(content):
            raise ForbiddenPickle(f"an array of {len(content):,} bytes with the shape {str(shape)[:60]}")
        self.content = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


class Dtype:
    """Stands for the dtype of bytes."""

    def __setstate__(self, state: object) -> None:
        """Take the state of the dtype `u1`, and no other."""
        if not isinstance(state, tuple) or len(state) != len(DTYPE_STATE) or state[1] not in ("|", b"|"):
            raise ForbiddenPickle("a dtype with another state")
        if any(type(given) is not type(known) or given != known for given, known in zip(state[2:], DTYPE_STATE[2:], strict=True)):
            raise ForbiddenPickle("a dtype with another state")


class Restricted(pickle.Unpickler):
    """Unpickler that knows the names which NumPy and Python 3 write for arrays of bytes and byte strings."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name, a new one each time: a pickle can set attributes of functions that it gets."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _reconstruct()
        if (module, name) == ("numpy", "ndarray"):
            return NDARRAY
        if (module, name) == ("numpy", "dtype"):
            return _dtype()
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes byte strings for Python 2
            return _encode()
        if module in ("builtins", "__builtin__") and name == "bytes":  # the empty one
            return _empty_bytes()
        raise ForbiddenPickle(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Never:
        """Refuse objects from elsewhere."""
        raise ForbiddenPickle("a persistent object")


def _reconstruct() -> Callable[..., Any]:
    def reconstruct(kind: object, shape: object, code: object) -> Array:
        if kind is not NDARRAY or shape != (0,):
            raise ForbiddenPickle("an array of another kind")
        return Array()

    return reconstruct


def _dtype() -> Callable[..., Any]:
    def dtype(code: object, align: object = 0, copy: object = 1) -> Dtype:
        if code not in CODES:
            raise ForbiddenPickle(f"the dtype {str(code)[:20]!r}")
        return Dtype()

    return dtype


def _encode() -> Callable[..., Any]:
    def encode(text: str, encoding: str | bytes = "latin1") -> bytes:
        if encoding not in ("latin1", b"latin1"):
            raise ForbiddenPickle(f"the encoding {encoding!r}")
        return str.encode(text, "latin1")

    return encode


def _empty_bytes() -> Callable[..., Any]:
    def empty() -> bytes:
        return b""

    return empty


def _real(value: object, depth: int = 20) -> object:
    """Put arrays in the place of their stand-ins, in nested containers too."""
    if depth == 0:
        raise ForbiddenPickle("containers that are nested deeply")
    if isinstance(value, Array):
        if value.content is None:
            raise ForbiddenPickle("an array without a state")
        return value.content
    if isinstance(value, Mapping):
        return {_plain(key): _real(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_real(item, depth - 1) for item in value)
    return _plain(value)


def _plain(value: object) -> object:
    if not isinstance(value, str | bytes | int | float | None):
        raise ForbiddenPickle(f"a {type(value).__name__} in the place of a plain value")
    return value
