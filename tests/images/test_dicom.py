"""DICOM photographs as devices write them; patients' data reaches nobody."""

import io
import logging
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from dicom import DERMOSCOPIC, dataset, written
from icc import PRIMARIES, rgb
from pictures import lesion
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from skin_cancer import Classifier, ImageError
from skin_cancer.images import decoding, inputs

SCENE = lesion(240, 180)
GREY = np.asarray(Image.fromarray(SCENE).convert("L"))
KINDS = {
    "dermoscopic": DERMOSCOPIC,
    "photographic": "1.2.840.10008.5.1.4.1.1.77.1.4",
    "secondary capture": "1.2.840.10008.5.1.4.1.1.7",
    "many frames": "1.2.840.10008.5.1.4.1.1.7.4",
}


def frame(image, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def difference(found, expected=SCENE):
    assert found.shape == (180, 240, 3)
    return np.abs(found.astype(int) - expected).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian], ids=["explicit", "implicit"]
)
def test_kinds(kind, syntax):
    data = written(dataset(SCENE, kind=KINDS[kind], syntax=syntax))
    assert np.array_equal(decoding.decode(data), SCENE)


@pytest.mark.parametrize("implicit", [True, False])
def test_without_preamble(implicit):
    found = dataset(SCENE)
    del found.file_meta
    data = written(found, implicit_vr=implicit, little_endian=True)
    assert b"DICM" not in data[:200]
    assert np.array_equal(decoding.decode(data), SCENE)


def test_planes():
    found = dataset(SCENE, PlanarConfiguration=1, PixelData=SCENE.transpose(2, 0, 1).tobytes())
    assert np.array_equal(decoding.decode(written(found)), SCENE)


def test_ybr():
    ybr = np.asarray(Image.fromarray(SCENE).convert("YCbCr"))
    assert difference(decoding.decode(written(dataset(ybr, "YBR_FULL")))) < 2


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_monochrome(bits, photometric):
    values = (GREY / 255 * (2**bits - 1)).round().astype(np.uint8 if bits == 8 else np.uint16)
    if photometric == "MONOCHROME1":
        values = 2**bits - 1 - values
    found = decoding.decode(written(dataset(values, photometric, stored=bits)))
    assert difference(found, np.dstack([GREY] * 3)) < 1


def test_palette():
    image = Image.fromarray(SCENE).quantize(64)
    palette = np.array(image.getpalette(), np.uint16).reshape(-1, 3) * 257
    found = dataset(np.asarray(image), "PALETTE COLOR")
    for name, values in zip(("Red", "Green", "Blue"), palette.T, strict=True):
        setattr(found, f"{name}PaletteColorLookupTableDescriptor", [len(palette), 0, 16])
        setattr(found, f"{name}PaletteColorLookupTableData", values.tobytes())
    assert difference(decoding.decode(written(found)), np.asarray(image.convert("RGB"))) < 1


COMPRESSED = {
    "JPEG": (uid.JPEGBaseline8Bit, "YBR_FULL_422", lambda: frame(SCENE, "JPEG", quality=95)),
    "JPEG 4:4:4": (
        uid.JPEGBaseline8Bit,
        "YBR_FULL",
        lambda: frame(SCENE, "JPEG", quality=95, subsampling=0),
    ),
    "JPEG said to be RGB": (uid.JPEGBaseline8Bit, "RGB", lambda: frame(SCENE, "JPEG", quality=95)),
    "JPEG 2000": (
        uid.JPEG2000Lossless,
        "YBR_RCT",
        lambda: frame(SCENE, "JPEG2000", no_jp2=True, mct=1),
    ),
}


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("frames", [1, 3])
def test_compressed(name, frames):
    syntax, photometric, encode = COMPRESSED[name]
    first, others = encode(), [frame(SCENE[::-1].copy(), "JPEG")] * (frames - 1)
    found = dataset(SCENE, photometric, syntax=syntax, NumberOfFrames=frames)
    found.PixelData = encapsulate([first, *others])
    found["PixelData"].is_undefined_length = True
    assert difference(decoding.decode(written(found))) < 3


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless], ids=["RLE", "JPEG-LS"])
def test_lossless(syntax):
    found = dataset(SCENE)
    found.compress(syntax)
    assert np.array_equal(decoding.decode(written(found)), SCENE)


def test_several_frames():
    found = dataset(np.stack([SCENE, SCENE[::-1]]), NumberOfFrames=2)
    assert np.array_equal(decoding.decode(written(found)), SCENE)


@pytest.mark.parametrize("inside", [False, True])
def test_profile(inside):
    """In the image itself, or in its optical path."""
    profile = rgb(next(iter(PRIMARIES)))
    with_profile = frame(SCENE, "PNG", icc_profile=profile)
    found = dataset(SCENE)
    part = pydicom.Dataset() if inside else found
    part.ICCProfile = profile
    if inside:
        found.OpticalPathSequence = [part]
    assert np.array_equal(decoding.decode(written(found)), decoding.decode(with_profile))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "1.2.840.10008.5.1.4.1.1.2"}, "CT Image Storage"),
        ({"Rows": 0}, "holds no image"),
        ({"Rows": 20, "Columns": 240}, "240 x 20"),
        ({"Rows": 60_000, "Columns": 60_000}, "60000 x 60000"),
        ({"Rows": 181}, "damaged"),
        ({"PhotometricInterpretation": "CIELAB"}, "damaged"),
    ],
)
def test_refused(changes, words):
    with pytest.raises(ImageError, match=words):
        decoding.decode(written(dataset(SCENE, **changes)))


@pytest.mark.parametrize(
    ("syntax", "words"),
    [(uid.JPEGLosslessSV1, "not read .JPEG Lossless"), (uid.JPEGBaseline8Bit, "damaged")],
)
def test_refused_by_its_compression(syntax, words):
    found = dataset(SCENE, "YBR_FULL", syntax=syntax, PixelData=encapsulate([b"no image" * 20]))
    found["PixelData"].is_undefined_length = True
    with pytest.raises(ImageError, match=words):
        decoding.decode(written(found))


def test_the_header_of_a_compressed_frame_is_believed():
    """A bomb: the frame has more pixels than the file says."""
    found = dataset(SCENE, "YBR_FULL_422", syntax=uid.JPEGBaseline8Bit)
    found.PixelData = encapsulate([frame(np.zeros((4_000, 4_000, 3), np.uint8), "JPEG")])
    found["PixelData"].is_undefined_length = True
    with pytest.raises(ImageError, match="damaged"):
        decoding.decode(written(found))


def test_a_damaged_frame():
    found = dataset(SCENE, "YBR_FULL_422", syntax=uid.JPEGBaseline8Bit)
    whole = frame(SCENE, "JPEG", quality=95)
    found.PixelData = encapsulate([whole[: len(whole) // 3] + whole[len(whole) // 2 :]])
    found["PixelData"].is_undefined_length = True
    with pytest.raises(ImageError, match="damaged"):
        decoding.decode(written(found))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_truncated(share):
    data = written(dataset(SCENE))
    with pytest.raises(ImageError):
        decoding.decode(data[: int(share * len(data))])


def test_patients_data_reaches_nobody(caplog, capfd, tmp_path):
    """Neither log, console, error nor prediction holds it, of a whole file or a damaged one."""
    caplog.set_level(logging.DEBUG)
    whole = written(dataset(SCENE, PatientBirthDate="a day"))
    (tmp_path / "photograph").write_bytes(whole)
    said = str(Classifier.load().predict(tmp_path / "photograph").__dict__)
    for data in (whole[:-1000], whole.replace(b"RGB", b"XYZ"), whole[:500]):
        with pytest.raises(ImageError) as raised:
            inputs.read(data)
        said += repr(raised.value) + repr(raised.value.__cause__)
    captured = capfd.readouterr()
    said += caplog.text + captured.out + captured.err
    assert "Doe" not in said
    assert "a day" not in said


def test_pydicom_is_imported_only_for_dicom():
    program = (
        "import sys; from skin_cancer import Classifier; import skin_cancer.app.page;"
        "assert not {'pydicom', 'pillow_heif', 'pillow_jxl'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
