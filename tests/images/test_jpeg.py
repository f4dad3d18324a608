"""A JPEG of which pixels are lost is refused; one that only lacks its end mark is read."""

import io

import numpy as np
import pytest
from damage import DAMAGES, damaged, pictures, share_changed
from pictures import encoded, lesion
from PIL import Image

from skin_cancer.errors import ImageError
from skin_cancer.images import decoding, jpeg


def file(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(600, 450), (1600, 1200)])
def test_cut_out_of_the_middle(size):
    data = encoded(lesion(*size))
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decoding.decode(data[: len(data) // 3] + data[len(data) // 2 :])


def test_cut_at_200_bytes():
    with pytest.raises(ImageError, match="damaged or incomplete"):
        decoding.decode(encoded(lesion(96, 72))[:200])


def test_only_the_end_mark_lacks():
    data = encoded(lesion())
    for end in (data[:-2], data[:-1]):
        assert np.array_equal(decoding.decode(end), decoding.decode(data))


@pytest.mark.parametrize("end", range(200, 20_000, 1_800))
def test_an_end_mark_does_not_make_a_cut_image_whole(end):
    data = encoded(lesion())
    with pytest.raises(ImageError, match="damaged"):
        decoding.decode(data[:end] + jpeg.END)


@pytest.mark.parametrize(
    ("kind", "size"), [("cut", 512), ("cut", 4096), ("zeroed", 64), ("zeroed", 512)]
)
def test_cut_and_zeroed_blocks_are_always_refused(kind, size):
    for number, data in enumerate(pictures(15)):
        with pytest.raises(ImageError):
            decoding.decode(damaged(data, kind, size, np.random.default_rng(number)))


@pytest.mark.parametrize("kind", ["random", "swapped", "flipped"])
def test_other_damage_is_refused_where_libjpeg_warns(kind):
    """Most of what changes more than a twentieth of the pixels; tests/damage.py counts more."""
    refused = []
    for number, data in enumerate(pictures(40)):
        spoilt = damaged(data, kind, 512, np.random.default_rng(number))
        if share_changed(data, spoilt) > 0.05:
            try:
                decoding.decode(spoilt)
                refused.append(False)
            except ImageError:
                refused.append(True)
    assert len(refused) > 15
    assert np.mean(refused) > 0.5


def test_all_kinds_of_damage_are_tried():
    assert set(DAMAGES) == {"cut", "zeroed", "random", "swapped", "flipped"}


def test_divisors_of_zero():
    data = bytearray(encoded(lesion()))
    start = data.index(b"\xff\xdb") + 5
    data[start : start + 64] = bytes(64)
    with pytest.raises(ImageError, match="damaged"):
        decoding.decode(bytes(data))


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_flat_images_are_no_damage(options, mode, quality):
    """Blocks without any detail may be coded by zeros alone."""
    image = Image.new("RGB", (900, 700), (255, 255, 255))
    image.paste(Image.fromarray(lesion(300, 225)), (0, 200))
    for flat in (image, Image.new("RGB", (900, 700), (128, 128, 128))):
        data = file(flat.convert(mode), quality=quality, **options)
        assert decoding.decode(data).shape == (700, 900, 3)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("restart", [0, 4])
def test_what_is_not_damaged_is_read_to_the_byte(subsampling, restart):
    image = Image.fromarray(lesion(320, 240))
    data = file(image, subsampling=subsampling, restart_marker_blocks=restart)
    expected = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(decoding.decode(data).astype(int) - expected).max() <= 1


def test_what_some_cameras_add():
    """Zeros before the end mark, anything after it, and bytes that fill up between segments."""
    data = encoded(lesion())
    expected = decoding.decode(data)
    for other in (
        data[:-2] + bytes(5) + data[-2:],
        data + bytes(1000),
        data + b"a second file" * 100,
        data[:2] + b"\xff\xff\xff" + data[2:],
    ):
        assert np.array_equal(decoding.decode(other), expected)


@pytest.mark.parametrize(("mark", "depth"), [(0xC3, 8), (0xC1, 12), (0xF7, 8)])
def test_kinds_of_jpeg_that_are_not_read_are_named(mark, depth):
    data = bytearray(encoded(lesion()))
    start = data.index(b"\xff\xc0")
    data[start + 1], data[start + 4] = mark, depth
    with pytest.raises(ImageError, match="lossless JPEG or one of more than 8 bits"):
        decoding.decode(bytes(data))


def test_a_header_of_endless_segments_is_refused_at_once():
    with pytest.raises(ImageError):
        decoding.decode(encoded(lesion())[:20] + b"\xff\xe1\0\3x" * 1_000_000)
