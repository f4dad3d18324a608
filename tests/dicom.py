"""DICOM photographs, as devices write them."""

import io
import warnings

import pydicom
from pydicom import uid
from pydicom.encaps import encapsulate

SECRET = "Doe^Jane"
DERMOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.7"
SYNTAXES = {"JPEG": uid.JPEGBaseline8Bit, "RLE": uid.RLELossless, "JPEG-LS": uid.JPEGLSLossless}


def dataset(values, photometric="RGB", stored=None, syntax=uid.ExplicitVRLittleEndian, **more):
    """A photograph of a patient, not yet written."""
    found = pydicom.Dataset()
    found.SOPClassUID, found.SOPInstanceUID = more.pop("kind", DERMOSCOPIC), uid.generate_uid()
    found.PatientName, found.PatientID, found.PatientBirthDate = SECRET, SECRET, "19700101"
    found.Rows, found.Columns = (
        values.shape[-3:-1] if photometric[0] not in "MP" else values.shape[-2:]
    )
    found.SamplesPerPixel = 1 if photometric[0] in "MP" else 3
    if found.SamplesPerPixel == 3:
        found.PlanarConfiguration = 0
    found.PhotometricInterpretation = photometric
    found.BitsAllocated = 8 * values.dtype.itemsize
    found.BitsStored = stored or found.BitsAllocated
    found.HighBit, found.PixelRepresentation = found.BitsStored - 1, 0
    found.PixelData = values.tobytes()
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = syntax
    for name, value in more.items():
        setattr(found, name, value)
    return found


def written(found, **options):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(buffer, found, enforce_file_format=not options, **options)
    return buffer.getvalue()


def compressed(values, kind, frames=()):
    """A photograph in frames that are compressed already, or compressed here."""
    if not frames:
        found = dataset(values)
        found.compress(SYNTAXES[kind])
        return found
    found = dataset(values, "YBR_FULL_422", syntax=SYNTAXES[kind])
    found.PixelData = encapsulate(list(frames))
    found["PixelData"].is_undefined_length = True
    return found
