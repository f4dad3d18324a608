"""DICOM photographs: their pixels and colours, and nothing of what else the file says.

Only the elements of `ELEMENTS` are read, so that patients' data reaches no object, message or log.
"""

import io
import warnings

import cv2
import numpy as np
from PIL import Image

from skin_cancer.errors import ImageError
from skin_cancer.images import jpeg, raster
from skin_cancer.images.limits import DAMAGED, MAX_PIXELS, check_size

ELEMENTS = [
    "SOPClassUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "ICCProfile",
    "OpticalPathSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelData",
]
VISIBLE_LIGHT = "1.2.840.10008.5.1.4.1.1.77.1."  # dermoscopic, photographic and others
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DEFLATED = b"1.2.840.10008.1.2.1.99"
MAX_RLE = 8_000_000  # bytes of a frame, which may stand for 64 times as many
MOST_PIXELS = 20_000_000  # unless they are light to decode
BASELINE = "JPEG Baseline (Process 1)"
COMPRESSED = (
    BASELINE,
    "JPEG Extended (Process 2 and 4)",
    "JPEG-LS Lossless Image Compression",
    "JPEG-LS Lossy (Near-Lossless) Image Compression",
    "JPEG 2000 Image Compression (Lossless Only)",
    "JPEG 2000 Image Compression",
    "RLE Lossless",
)  # names of transfer syntaxes
JPEG_LS = b"\xff\xf7"  # before its size
MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


def read(data: bytes) -> tuple[np.ndarray, bytes | None, bool]:
    """Decode the first frame of a DICOM photograph; all frames of a file are of one size.

    Args:
        data: the file, with or without its preamble.

    Returns:
        uint8 RGB (height, width, 3); the ICC profile or None; whether the image is grey.

    Raises:
        ImageError: it is damaged, or no photograph, or is compressed in a way that is not read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they may quote what the file says
        dataset = _opened(data)
        try:
            _check_kind(dataset)
            _check_pixels(dataset)
            return _rgb(dataset), _profile(dataset), _photometric(dataset) in MONOCHROME
        except ImageError:
            raise
        except Exception:
            raise ImageError(DAMAGED) from None  # errors may quote it too


def _opened(data):
    """Read the elements that are needed, and no other."""
    import pydicom  # takes a third of a second

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    if DEFLATED in data[:1000]:
        raise ImageError(_not_read("deflated"))
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=ELEMENTS)
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little = dataset.original_encoding
            uid = pydicom.uid
            explicit = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
            syntax = uid.ImplicitVRLittleEndian if implicit else explicit
            dataset.file_meta.TransferSyntaxUID = syntax
        for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored"):
            if name in dataset and not isinstance(dataset[name].value, int):
                raise ImageError(DAMAGED)
    except ImageError:
        raise
    except Exception:
        raise ImageError(DAMAGED) from None
    return dataset


def _check_kind(dataset):
    kind = dataset.get("SOPClassUID")
    if kind and not str(kind).startswith((VISIBLE_LIGHT, SECONDARY_CAPTURE)):
        known = getattr(kind, "name", kind)
        name = f" ({known})" if known != kind else ""
        raise ImageError(
            f"This is a DICOM file of another kind{name}, which cannot be read as an image. "
            "Dermoscopic, photographic and secondary capture images are read."
        )
    if "PixelData" not in dataset or not dataset.get("Rows") or not dataset.get("Columns"):
        raise ImageError("This DICOM file holds no image.")


def _check_pixels(dataset):
    """Refuse too many pixels, by what the file says and by what its compressed frame says."""
    from pydicom.uid import RLELossless

    size, syntax = (dataset.Columns, dataset.Rows), dataset.file_meta.TransferSyntaxUID
    check_size(*size, MAX_PIXELS if _is_light(dataset) else MOST_PIXELS)
    if not syntax.is_compressed:
        return
    if syntax.name not in COMPRESSED:
        raise ImageError(_not_read(syntax.name))
    frame = _frame(dataset)
    found = _size(frame) if syntax != RLELossless else size
    if syntax == RLELossless and len(frame) > MAX_RLE:
        raise ImageError(_not_read("run lengths of more than 8 MB"))
    if found != size:
        raise ImageError(DAMAGED)
    if syntax.name == BASELINE:
        jpeg.check_codes(jpeg.ended(frame))


def _size(frame):
    """Return width and height of a compressed frame, by its own header."""
    start = frame.find(JPEG_LS)
    if start >= 0 and frame.startswith(jpeg.START):
        height, width = frame[start + 5 : start + 7], frame[start + 7 : start + 9]
        return int.from_bytes(width), int.from_bytes(height)
    with Image.open(io.BytesIO(frame), formats=["JPEG", "JPEG2000"]) as image:
        return image.size


def _rgb(dataset):
    """Return the first frame as 8-bit RGB."""
    from pydicom.pixels import apply_color_lut, pixel_array

    photometric, top = _photometric(dataset), 2**dataset.BitsStored - 1
    if _is_jpeg(dataset):
        flags = cv2.IMREAD_GRAYSCALE if photometric in MONOCHROME else cv2.IMREAD_COLOR
        frame = np.frombuffer(jpeg.ended(_frame(dataset)), np.uint8)
        values = np.asarray(cv2.imdecode(frame, flags | cv2.IMREAD_IGNORE_ORIENTATION))
    else:
        values = np.array(pixel_array(dataset, index=0))
        values = values[..., ::-1] if values.ndim == 3 else values
    if photometric == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)[..., ::-1]
        top = np.iinfo(values.dtype).max
    if values.dtype.kind == "i":
        values = values.astype(np.int32) + 2 ** (dataset.BitsStored - 1)
    if photometric == "MONOCHROME1":  # in which 0 is white
        values = top - np.minimum(values, top)
    return raster.to_rgb(values, top)


def _frame(dataset):
    """Return the first frame as it is compressed."""
    from pydicom.encaps import generate_frames

    frames = int(dataset.get("NumberOfFrames") or 1)
    return next(generate_frames(dataset.PixelData, number_of_frames=frames))


def _is_jpeg(dataset):
    """Say whether the pixels are those of an ordinary JPEG, whose colours libjpeg knows."""
    if dataset.file_meta.TransferSyntaxUID.name != BASELINE:
        return False
    head = _frame(dataset)[:1_000]
    return _photometric(dataset) != "RGB" or b"JFIF" in head or b"Adobe" in head


def _is_light(dataset):
    """Say whether decoding takes no more memory than an ordinary image does."""
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return _is_jpeg(dataset)
    return dataset.BitsAllocated == 8 and _photometric(dataset) in ("RGB", *MONOCHROME)


def _profile(dataset):
    optical = dataset.get("OpticalPathSequence") or [{}]
    return dataset.get("ICCProfile") or optical[0].get("ICCProfile")


def _photometric(dataset):
    return dataset.get("PhotometricInterpretation", "")


def _not_read(compression):
    return (
        f"This DICOM file is compressed in a way that is not read ({compression}). "
        "Save it uncompressed, as JPEG, JPEG-LS, JPEG 2000 or RLE."
    )
