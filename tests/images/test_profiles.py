"""Colours with a profile come out as those of sRGB, whatever file carries them."""

import io

import cv2
import icc
import numpy as np
import pytest
from pictures import lesion
from PIL import Image, ImageCms

from skin_cancer import Classifier, ImageError
from skin_cancer.images import decoding, profiles

SRGB = ImageCms.createProfile("sRGB")


def file(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def in_space(image, profile):
    """The colours of an sRGB image in another space."""
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    stored = ImageCms.profileToProfile(Image.fromarray(image), SRGB, opened, outputMode="RGB")
    stored.info.clear()  # the profile, which Pillow would save
    return stored


def difference(found, expected):
    return np.abs(found.astype(int) - expected).mean()


@pytest.fixture(scope="module")
def scene():
    """Colours that each of the spaces can show."""
    return cv2.GaussianBlur(lesion(240, 180), (0, 0), 2)


@pytest.mark.parametrize("space", icc.PRIMARIES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_rgb(scene, space, kind):
    profile = icc.rgb(space)
    stored = in_space(scene, profile)
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "AVIF": {"quality": 95}}
    data = file(stored, kind, icc_profile=profile, **options.get(kind, {}))
    plain = file(stored, kind, **options.get(kind, {}))
    found = decoding.read(data)
    assert difference(found.pixels, scene) < 2
    assert difference(decoding.decode(plain), scene) > 3
    assert found.doubts == {}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_grey(scene, kind):
    """Grey with the gamma 1.0: 55 is as light as 128 in sRGB."""
    profile, light = icc.grey(1.0), cv2.cvtColor(scene, cv2.COLOR_RGB2GRAY)
    linear = np.where(light > 10, ((light / 255 + 0.055) / 1.055) ** 2.4, light / 255 / 12.92)
    stored = Image.fromarray((255 * linear).round().astype(np.uint8))
    found = decoding.decode(file(stored, kind, icc_profile=profile))
    assert difference(found, np.dstack([light] * 3)) < 2


def test_grey_image_with_an_rgb_profile(scene):
    profile = icc.rgb("ProPhoto")
    light = Image.fromarray(scene).convert("L")
    found = decoding.read(file(light, icc_profile=profile))
    expected = decoding.decode(file(light.convert("RGB"), icc_profile=profile))
    assert np.array_equal(found.pixels, expected)
    assert found.doubts == {}


def test_jpeg_2000(scene):
    """Pillow writes no profile: its box takes the place of that which names the space."""
    profile = icc.rgb("Display P3")
    data = file(in_space(scene, profile), "JPEG2000")
    box = data[data.index(b"colr") - 4 :][:15]
    longer = (11 + len(profile)).to_bytes(4) + b"colr\x02\0\0" + profile
    header = data.index(b"jp2h") - 4
    size = int.from_bytes(data[header : header + 4]) + len(longer) - len(box)
    data = data.replace(box, longer)
    data = data[:header] + size.to_bytes(4) + data[header + 4 :]
    assert difference(decoding.decode(data), scene) < 2
    assert "profile" in decoding.read(data.replace(b"mntrRGB", b"mntrXYZ")).doubts


INKS = {
    (0, 0, 0, 0): (255, 255, 255),
    (255, 0, 0, 0): (0, 255, 255),
    (0, 255, 255, 0): (255, 0, 0),
    (0, 0, 255, 0): (255, 255, 0),
    (0, 0, 0, 255): (0, 0, 0),
}


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("ink", INKS)
def test_cmyk(kind, ink):
    data = file(Image.new("CMYK", (64, 48), ink), kind, icc_profile=icc.cmyk())
    assert np.abs(decoding.decode(data).astype(int) - INKS[ink]).max() <= 6


def test_orientation_of_cmyk():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file(Image.new("CMYK", (64, 48)), "JPEG", icc_profile=icc.cmyk(), exif=exif.tobytes())
    assert decoding.decode(data).shape == (64, 48, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_srgb_itself_changes_nothing(scene, kind):
    image = Image.fromarray(scene)
    profile = ImageCms.ImageCmsProfile(SRGB).tobytes()
    tagged = decoding.read(file(image, kind, icc_profile=profile))
    assert np.array_equal(tagged.pixels, decoding.decode(file(image, kind)))
    assert tagged.doubts == {}


def test_16_bits_with_a_profile(scene):
    profile = icc.rgb("ProPhoto")
    deep = np.asarray(in_space(scene, profile)).astype(np.uint16) * 257
    data = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()
    chunk = file(Image.new("RGB", (8, 8)), icc_profile=profile)
    start = chunk.index(b"iCCP") - 4
    end = start + 12 + int.from_bytes(chunk[start : start + 4])
    assert difference(decoding.decode(data[:33] + chunk[start:end] + data[33:]), scene) < 2


WHOLE = icc.rgb("Display P3")
DAMAGED = {
    "cut": WHOLE[:200],
    "no profile": b"no profile" * 30,
    "zeros": bytes(len(WHOLE)),
    "zeros after the header": WHOLE[:128] + bytes(len(WHOLE) - 128),
    "for CMYK": icc.cmyk(),
    "for no colours": WHOLE.replace(b"RGB ", b"RG7\x8a"),
    "for grey": icc.grey(2.2),
    "black is white": WHOLE.replace(b"\0\0\0\1\x02\x33", b"\0\0\0\1\0\0"),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_profile_is_ignored_with_a_doubt(scene, kind, damage):
    image = Image.fromarray(scene)
    found = decoding.read(file(image, kind, icc_profile=DAMAGED[damage]))
    assert np.array_equal(found.pixels, decoding.decode(file(image, kind)))
    assert "profile is damaged" in found.doubts["profile"]


def test_a_profile_of_which_a_part_lacks(scene):
    """In a JPEG a profile may stand in several parts; here the second of two lacks."""
    data = file(Image.fromarray(scene), "JPEG", icc_profile=WHOLE)
    data = data.replace(b"ICC_PROFILE\0\1\1", b"ICC_PROFILE\0\1\2")
    assert "profile" in decoding.read(data).doubts


def test_a_profile_that_is_not_its_digest(scene):
    opened = bytearray(WHOLE)
    opened[84:100] = b"another digest.."
    with pytest.raises(profiles.ProfileError, match="changed"):
        profiles.to_srgb(scene, bytes(opened))


def test_the_doubt_is_among_the_warnings():
    data = file(Image.fromarray(lesion()), "JPEG", icc_profile=DAMAGED["cut"])
    prediction = Classifier.load().predict(data)
    assert any("colour profile is damaged" in sentence for sentence in prediction.warnings)
    assert "profile" in prediction.quality


def test_the_answer_is_that_of_srgb():
    classifier, image = Classifier.load(), lesion()
    expected = classifier.predict(image).malignancy
    profile = icc.rgb("Display P3")
    with_profile = file(in_space(image, profile), icc_profile=profile)
    assert classifier.predict(with_profile).malignancy == pytest.approx(expected, abs=0.02)


def test_a_damaged_image_with_a_profile_is_refused(scene):
    data = file(Image.fromarray(scene).convert("CMYK"), "JPEG", icc_profile=icc.cmyk())
    with pytest.raises(ImageError, match="damaged"):
        decoding.decode(data[: len(data) // 2])
