"""Image files -> arrays of a given shape; the same conversion for training data and predictions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from studygroup.data.class_folders import list_files
from studygroup.errors import UserError
from studygroup.regular import open_regular

if TYPE_CHECKING:
    from PIL import Image

# Formats that PIL registers but cannot decode itself (it would call another program, or has a stub only).
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"}


@cache
def formats() -> tuple[str, ...]:
    """Return the names of the image formats that can be read."""
    from PIL import Image

    Image.init()
    return tuple(sorted(set(Image.OPEN) - NOT_DECODED))


@cache
def suffixes() -> frozenset[str]:
    """Return the file suffixes of these formats, in lower case, with the dot."""
    from PIL import Image

    known = set(formats())
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in known)


def find_images(path: str | Path) -> list[Path]:
    """Return the image files at a path, sorted.

    Args:
        path: a file of any name, or a folder, which is searched at any depth. Hidden files and folders, and files whose suffix is not an
            image format's, are ignored.

    Raises:
        UserError: the path does not exist, or the folder has no images.

    Example:
        >>> from studygroup import data
        >>> data.find_images("digit.png")
        [PosixPath('digit.png')]
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"{path} does not exist; give an image file or a folder of images")
    if not path.is_dir():  # if it is not a regular file, it cannot be read
        return [path]
    found = [path / name for name in list_images(path)]
    if not found:
        raise UserError(f"{path} has no images; files with these suffixes count: {' '.join(sorted(suffixes()))}")
    return found


def list_images(folder: Path) -> list[str]:
    """Return the image files in a folder at any depth, as sorted paths (with `/`) relative to it, without hidden ones."""
    return list_files(folder, suffixes())


def read_image(path: str | Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read one image exactly as it would be prepared for training.

    The first frame is rotated by its EXIF orientation, transparent pixels become white, and the centre crop with the proportions of
    `shape` is resized with antialiasing. 16-bit images are scaled to 8 bits.

    Args:
        path: an image file.
        shape: (channels, height, width), channels 1 (grey) or 3 (colour).

    Returns:
        An array of shape `shape`, uint8.

    Raises:
        UserError: the file is missing or is not a readable image.

    Example:
        >>> from studygroup import data
        >>> data.read_image("digit.png", (1, 8, 8)).shape
        (1, 8, 8)
    """
    with decoding():
        return read_file(path, shape)


def read_file(path: str | Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read one image like `read_image`, within `decoding`, in any thread."""
    try:
        return decode(Path(path), shape)
    except DecodeError as error:
        raise UserError(f"{path} cannot be read: {error}; is it an image?") from error


class DecodeError(Exception):
    """An image file cannot be decoded; the message says why."""


@contextmanager
def decoding() -> Iterator[None]:
    """Set up `decode`, in the main thread: images of absurd size are errors, other warnings of PIL are ignored."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read one image like `read_image`, within `decoding`, in any thread.

    Raises:
        DecodeError: the file cannot be decoded.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with open_regular(path) as file, Image.open(file, formats=formats()) as image:
            # A large JPEG is decoded at a fraction of its size, at least twice the size that is needed.
            image.draft(None, (2 * shape[2], 2 * shape[1]))
            upright: Image.Image = image
            with suppress(Exception):  # damaged EXIF data; damaged pixels raise when they are decoded
                upright = ImageOps.exif_transpose(image)
            return fit(upright, shape)
    except Exception as error:  # PIL's decoders raise nearly anything on nearly anything
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, UnidentifiedImageError):
            reason = "not an image in a format that can be read"
        raise DecodeError(" ".join(reason.split()) or type(error).__name__) from error


def image_header(path: Path) -> str:
    """Return pixel format (PIL's name) and size of an image, `RGB 640x480`, within `decoding`; empty if it cannot be read."""
    from PIL import Image

    with suppress(Exception), open_regular(path) as file, Image.open(file, formats=formats()) as image:  # decoding will report the error
        return f"{image.mode} {image.width}x{image.height}"
    return ""


def fit(image: Image.Image, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Crop an image to the proportions of `shape` (channels, height, width) around its centre, resize it, and return it as an array."""
    from PIL import Image

    channels, height, width = shape
    image = _to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        box = crop_box(image.size, (width, height))
        image = image.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    pixels = np.asarray(image, dtype=np.uint8)
    return np.ascontiguousarray(pixels.reshape(height, width, channels).transpose(2, 0, 1))


def crop_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the largest centred box (left, top, right, bottom) of an image that has the proportions of `target`.

    It never leaves the image by a rounding error, which PIL refuses.

    Args:
        size: (width, height) of the image.
        target: (width, height).
    """
    scale = min(size[0] / target[0], size[1] / target[1])
    (left, right), (top, bottom) = (
        (max((length - wanted * scale) / 2, 0.0), min((length + wanted * scale) / 2, float(length)))
        for length, wanted in zip(size, target, strict=True)
    )
    return left, top, right, bottom


def fit_array(images: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Convert images (n, C, H, W) to (n, *shape), each as a file with these pixels would be."""
    from PIL import Image

    if images.shape[1:] == shape:
        return images
    pixels = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    return np.stack([fit(Image.fromarray(np.ascontiguousarray(image)), shape) for image in pixels])


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale grey images of more than 8 bits: integers from 0 to 65535; floats from 0 to 1 if none is above 1, else from 0 to 255."""
    from PIL import Image

    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        values = values * np.float32(255) if values.max() <= 1 else values
    elif image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float32) / np.float32(257)
    else:
        return image
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
