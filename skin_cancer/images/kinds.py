"""Which kind of file it is, by its first bytes."""

import re

from skin_cancer.errors import ImageError

JPEG, PNG, BMP, TIFF, WEBP, GIF = "JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"
JPEG_2000, AVIF, HEIF, JPEG_XL, DICOM = "JPEG2000", "AVIF", "HEIF", "JXL", "DICOM"
FORMATS = "JPEG, PNG, BMP, TIFF, WebP, GIF, JPEG 2000, AVIF, HEIC, JPEG XL or DICOM"
ADVICE = f"Choose a whole {FORMATS} file."
ENDINGS = {  # of files, in lower case
    JPEG: (".jpg", ".jpeg", ".jpe", ".jfif"),
    PNG: (".png",),
    BMP: (".bmp",),
    TIFF: (".tif", ".tiff"),
    WEBP: (".webp",),
    GIF: (".gif",),
    JPEG_2000: (".jp2", ".j2k", ".j2c", ".jpf", ".jpx"),
    AVIF: (".avif",),
    DICOM: (".dcm", ".dicom"),
    HEIF: (".heic", ".heif", ".hif"),
    JPEG_XL: (".jxl",),
}

HEIF_BRANDS = "heic|heix|heim|heis|hevc|hevx|hevm|hevs|mif1|mif2|msf1|miaf"
# Patterns of the first bytes; the first that fits is the kind.
READ = {
    JPEG: rb"\xff\xd8\xff",
    PNG: rb"\x89PNG",
    BMP: rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    TIFF: rb"II[\*\+]\0(?!.{4}CR)|MM\0[\*\+]",
    WEBP: rb"RIFF....WEBP",
    GIF: rb"GIF8[79]a",
    JPEG_2000: rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    JPEG_XL: rb"\xff\x0a|\0\0\0\x0cJXL ",
    AVIF: rb".{4}ftyp(avi[fs]|(mif1|msf1|miaf).{4}(.{4}){0,8}avi[fs])",
    HEIF: rb".{4}ftyp(" + HEIF_BRANDS.encode() + rb")",
    DICOM: rb".{128}DICM|[\x02\x08]\0.\0((UL|OB|UI|CS|SH|LO|DA|TM).|.\0\0\0)",
}
NAMED = {
    "a raw image of a camera": rb"II\*\0.{4}CR|IIRO|IIRS|MMOR|IIU\0|FUJIFILMCCD|.{4}ftypcrx",
    "a PDF": rb".{0,1000}?%PDF-",
    "a Photoshop file": rb"8BPS",
    "a GIMP file": rb"gimp xcf",
    "an icon": rb"\0\0[\x01\x02]\0[^\0]",
    "a PostScript file": rb"%!PS|\xc5\xd0\xd3\xc6",
    "an SVG drawing": rb"\s*(<\?xml[^>]*>\s*)?(<!--.{0,500}?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg",
    "a web page": rb"(?i)\s*(<!doctype html|<html|<head|<script)",
    "an XML file": rb"\s*<\?xml",
    "a Word, Excel or PowerPoint file": rb"PK\x03\x04.{26}(\[Content_Types\]|_rels|docProps)|"
    rb"\xd0\xcf\x11\xe0",
    "a ZIP archive": rb"PK(\x03\x04|\x05\x06)",
    "an archive of compressed files": rb"Rar!|7z\xbc\xaf|\x1f\x8b|BZh\d|\xfd7zXZ|\x28\xb5\x2f\xfd",
    "a video": rb".{4}(ftyp|moov|mdat|wide|free)|RIFF....AVI |\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]",
    "a sound": rb"RIFF....WAVE|ID3|OggS|fLaC",
    "a PNM image": rb"P[1-7]\s",
    "an OpenEXR image": rb"v/1\x01",
    "a Radiance image": rb"#\?RADIANCE",
    "a NIfTI file": rb".{344}(n\+1|ni1)\0",
    "an array of NumPy": rb"\x93NUMPY",
    "an HDF5 file": rb"\x89HDF",
    "a Parquet file": rb"PAR1",
    "a program": rb"MZ|\x7fELF",
    "a file of macOS that only describes another": rb"\0\x05\x16\x07",
    "the address of a file in Git LFS": rb"version https://git-lfs",
    "a text file": rb"[\t\n\r\x20-\x7e]+\Z",
}
HEAD = 2_000  # bytes that are looked at


def kind(data: bytes) -> str:
    """Return the kind of an image file.

    Args:
        data: the file, or its first 2,000 bytes.

    Raises:
        ImageError: no such kind is read; says which it is, if it is known.
    """
    head = bytes(data[:HEAD])
    for name, pattern in READ.items():
        if re.match(pattern, head, re.DOTALL):
            return name
    for name, pattern in NAMED.items():
        if re.match(pattern, head, re.DOTALL):
            raise ImageError(f"This is {name}, which cannot be read as an image. {ADVICE}")
    raise ImageError(f"This file cannot be read as an image. {ADVICE}")
