"""Any image file -> an array of a stated shape: the one conversion that training data and predictions share."""

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

if TYPE_CHECKING:
    from PIL import Image

# Formats that PIL names but does not decode by itself (it would call another program, or has a stub only).
UNREADABLE = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"}


@cache
def formats() -> tuple[str, ...]:
    """The names of the image formats that are read."""
    from PIL import Image

    Image.init()
    return tuple(sorted(set(Image.OPEN) - UNREADABLE))


@cache
def suffixes() -> frozenset[str]:
    """The file suffixes of these formats, in lower case, with the dot."""
    from PIL import Image

    known = set(formats())
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in known)


def find_images(path: str | Path) -> list[Path]:
    """The image files at a path, sorted.

    Args:
        path: a file, which is taken whatever its name is, or a folder, which is searched to any depth. Hidden files and folders, and
            files whose suffix is not an image format's, are left out.

    Raises:
        UserError: there is nothing at the path, or no image in the folder.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path} does not exist; give an image file or a folder of images")
    found = [path / name for name in list_images(path)]
    if not found:
        raise UserError(f"{path} has no images; files with these suffixes count: {' '.join(sorted(suffixes()))}")
    return found


def list_images(folder: Path) -> list[str]:
    """The image files in a folder at any depth, as sorted paths (with `/`) relative to it; hidden ones are left out."""
    return list_files(folder, suffixes())


def read_image(path: str | Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read one image exactly as it would be prepared for training.

    The first frame is turned as its EXIF orientation says, put on white where it is transparent, cut to the shape's proportions around
    its centre and resized with antialiasing. 16-bit images are scaled to 8 bits.

    Args:
        path: an image file.
        shape: (channels, height, width), channels 1 (grey) or 3 (colour).

    Returns:
        `shape` uint8.

    Raises:
        UserError: the file is missing or is not a readable image.
    """
    with decoding():
        try:
            return decode(Path(path), shape)
        except BrokenImage as error:
            raise UserError(f"{path} cannot be read: {error}; is it an image?") from error


class BrokenImage(Exception):
    """A file that cannot be decoded, and why."""


@contextmanager
def decoding() -> Iterator[None]:
    """Around `decode`, in the main thread: an image of absurd size counts as broken, and PIL's other remarks are not passed on."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Like `read_image`, within `decoding`, in any thread.

    Raises:
        BrokenImage: the file cannot be decoded.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path, formats=formats()) as image:
            # A large JPEG is decoded at a fraction of its size: still at least twice what is needed.
            image.draft(None, (2 * shape[2], 2 * shape[1]))
            upright: Image.Image = image
            with suppress(Exception):  # damaged EXIF data; if it is the pixels, decoding them will say so
                upright = ImageOps.exif_transpose(image)
            return fit(upright, shape)
    except Exception as error:  # PIL's decoders raise nearly anything on nearly anything
        reason = "not an image in a format that can be read" if isinstance(error, UnidentifiedImageError) else str(error)
        raise BrokenImage(" ".join(reason.split()) or type(error).__name__) from error


def mode(path: Path) -> str:
    """An image's pixel format as PIL names it, from its header alone, within `decoding`; empty if it cannot be read."""
    from PIL import Image

    with suppress(Exception), Image.open(path, formats=formats()) as image:  # decoding will report what is wrong
        return image.mode
    return ""


def fit(image: Image.Image, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A picture as an array of `shape` (channels, height, width): cut to the proportions around the centre, and resized."""
    from PIL import Image

    channels, height, width = shape
    image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
        box = (left, top, left + width * scale, top + height * scale)
        image = image.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    pixels = np.asarray(image, dtype=np.uint8)
    return np.ascontiguousarray(pixels.reshape(height, width, channels).transpose(2, 0, 1))


def fit_array(images: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Images (n, C, H, W) as (n, *shape): each converted as a file with these pixels would be."""
    from PIL import Image

    if images.shape[1:] == shape:
        return images
    pictures = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    return np.stack([fit(Image.fromarray(np.ascontiguousarray(picture)), shape) for picture in pictures])


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey pictures of more than 8 bits at 8: integers from 0 to 65535; floats from 0 to 1 if none is above 1, else from 0 to 255."""
    from PIL import Image

    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        values = values * np.float32(255) if values.max() <= 1 else values
    elif image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float32) / np.float32(257)
    else:
        return image
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
