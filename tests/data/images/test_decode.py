"""Image files of all kinds -> arrays."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studygroup.data import find_images, read_image
from studygroup.data.images.decode import crop_box, fit, fit_array
from studygroup.errors import UserError


def halves(width: int = 8, height: int = 8) -> np.ndarray:
    """Left red, right blue (height, width, 3)."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return pixels


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tif", ".webp", ".gif", ".tga", ".qoi"])
def test_lossless_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    Image.fromarray(halves()).save(path, lossless=True)
    assert np.array_equal(read_image(path, (3, 8, 8)), halves().transpose(2, 0, 1))


def test_jpeg_with_another_suffix(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.full((64, 64, 3), (200, 100, 50), dtype=np.uint8)).save(path, format="JPEG", quality=95)
    image = read_image(path, (3, 8, 8))
    assert np.abs(image.astype(int) - np.array([200, 100, 50]).reshape(3, 1, 1)).max() <= 3


def test_grey_from_colour_and_colour_from_grey(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(np.full((4, 4, 3), (255, 0, 0), dtype=np.uint8)).save(path)
    assert read_image(path, (1, 4, 4)).tolist() == [[[76] * 4] * 4]  # ITU-R 601 luma of red
    Image.fromarray(np.full((4, 4), 90, dtype=np.uint8)).save(path)
    assert np.array_equal(read_image(path, (3, 4, 4)), np.full((3, 4, 4), 90))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(halves()).save(path, exif=exif)
    assert np.array_equal(read_image(path, (3, 8, 8)), halves()[::-1, ::-1].transpose(2, 0, 1))


def test_transparency_is_white(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:, 2:, 3] = 255
    Image.fromarray(pixels).save(path)
    assert read_image(path, (1, 4, 4))[0, 0].tolist() == [255, 255, 0, 0]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    palette.save(path, transparency=0)
    assert read_image(path, (3, 1, 2)).tolist() == [[[255, 40]], [[255, 50]], [[255, 60]]]


def test_sixteen_bits(tmp_path: Path) -> None:
    values = np.array([[0, 257, 51400, 65535]], dtype=np.uint16)
    for suffix in (".png", ".tif"):
        path = tmp_path / f"image{suffix}"
        Image.fromarray(values).save(path)
        assert read_image(path, (1, 1, 4)).tolist() == [[[0, 1, 200, 255]]]


def test_floats(tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(path)
    assert read_image(path, (1, 1, 3)).tolist() == [[[0, 128, 255]]]
    Image.fromarray(np.array([[0.0, 100.0, 300.0]], dtype=np.float32)).save(path)
    assert read_image(path, (1, 1, 3)).tolist() == [[[0, 100, 255]]]


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "image.gif"
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert np.array_equal(read_image(path, (1, 4, 4)), np.full((1, 4, 4), 10))


def test_bilevel_and_cmyk(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "image.png")
    assert read_image(tmp_path / "image.png", (1, 1, 2)).tolist() == [[[255, 0]]]
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "image.tif")
    assert read_image(tmp_path / "image.tif", (3, 4, 4))[:, 0, 0].tolist() == [255, 0, 0]


def test_centre_crop(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    pixels = np.zeros((8, 24, 3), dtype=np.uint8)
    pixels[:, :8, 0], pixels[:, 8:16, 1], pixels[:, 16:, 2] = 255, 255, 255
    Image.fromarray(pixels).save(path)
    wide = read_image(path, (3, 4, 4))
    assert wide[1].min() > 220  # the filter reaches a little beyond the edges
    assert wide[[0, 2]].max() < 35
    Image.fromarray(pixels.transpose(1, 0, 2)).save(path)
    assert np.array_equal(read_image(path, (3, 4, 4)), wide.transpose(0, 2, 1))


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(path)
    assert np.abs(read_image(path, (1, 8, 8)).astype(int) - 128).max() < 16


def test_small_images_are_enlarged(tmp_path: Path) -> None:
    Image.fromarray(halves(2, 2)).save(tmp_path / "image.png")
    large = read_image(tmp_path / "image.png", (3, 16, 16))
    assert large[0, 8, 0] > 200 > 60 > large[0, 8, 15]


def test_arrays_are_converted_like_files(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 20, 20), dtype=np.uint8)
    Image.fromarray(pixels[1].transpose(1, 2, 0)).save(tmp_path / "image.png")
    for shape in ((3, 20, 20), (1, 20, 20), (3, 9, 9), (1, 31, 31)):
        assert np.array_equal(fit_array(pixels, shape)[1], read_image(tmp_path / "image.png", shape))


def bomb(width: int, height: int) -> bytes:
    """A PNG header that announces an image of absurd size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [11_000, 60_000])
def test_absurd_sizes_are_refused(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb(side, side))
    with pytest.raises(UserError, match=r"bomb\.png cannot be read.*pixels"):
        read_image(tmp_path / "bomb.png", (3, 8, 8))


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "torn.png").write_bytes(content)
    with pytest.raises(UserError, match=r"torn\.png cannot be read"):
        read_image(tmp_path / "torn.png", (3, 8, 8))


def test_a_truncated_image_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "torn.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"torn\.jpg.*truncated"):
        read_image(path, (3, 8, 8))


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png cannot be read: .*No such file"):
        read_image(tmp_path / "gone.png", (3, 8, 8))


def test_postscript_runs_no_program(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="not an image"):
        read_image(tmp_path / "image.png", (3, 8, 8))


def test_find_images(tmp_path: Path) -> None:
    for name in (
        "b.PNG",
        "a/z.jpg",
        "a/notes.txt",
        ".hidden.png",
        ".git/x.png",
        "a/b/c.webp",
        "paper.eps",
        "__MACOSX/a/z.jpg",
        "a/._z.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_images(tmp_path) == [tmp_path / name for name in ("a/b/c.webp", "a/z.jpg", "b.PNG")]
    assert find_images(str(tmp_path / "a" / "notes.txt")) == [tmp_path / "a" / "notes.txt"], "a given file may have any name"


def test_find_images_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no images"):
        find_images(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        find_images(tmp_path / "gone")


TARGETS = ((8, 8), (14, 14), (28, 28), (32, 32), (64, 64), (100, 100), (112, 112), (224, 224), (299, 299), (32, 48), (97, 31))


@pytest.mark.parametrize("target", TARGETS)
def test_the_crop_never_leaves_the_image(target: tuple[int, int]) -> None:
    for size in range(1, 1101):
        for width, height in ((size, size), (size, 1101 - size), (size, 640), (480, size)):
            left, top, right, bottom = crop_box((width, height), target)
            assert 0 <= left < right <= width, (width, height)
            assert 0 <= top < bottom <= height, (width, height)
            assert (right - left) * target[1] == pytest.approx((bottom - top) * target[0])
            assert left + right == pytest.approx(width)
            assert top + bottom == pytest.approx(height)


@pytest.mark.parametrize("target", TARGETS)
def test_images_of_every_size_are_resized(target: tuple[int, int]) -> None:
    shape = (1, target[1], target[0])
    awkward = [  # sizes at which the plain formula leaves the image, if there are any
        (width, height) for width in range(1, 1101, 3) for height in (width + 1, 333) if leaves(width, height, target)
    ]
    for width, height in [*awkward[:15], (1, 1), (1, 700), (700, 1), (1099, 1100)]:
        assert fit(Image.new("L", (width, height), 7), shape).tolist() == np.full(shape, 7).tolist()


def leaves(width: int, height: int, target: tuple[int, int]) -> bool:
    scale = min(width / target[0], height / target[1])
    left, top = (width - target[0] * scale) / 2, (height - target[1] * scale) / 2
    return left < 0 or top < 0 or left + target[0] * scale > width or top + target[1] * scale > height


def test_there_are_sizes_at_which_the_plain_formula_fails() -> None:
    assert any(leaves(width, 333, (224, 224)) for width in range(1, 1101))
