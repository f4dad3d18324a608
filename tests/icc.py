"""ICC profiles, made here since none may be copied: matrix, grey and CMYK (ICC.1:2001-04)."""

import struct

import numpy as np
from PIL import Image, ImageCms

D50 = (0.9642, 1.0, 0.8249)
# Red, green and blue as XYZ at D50 (sums of rows are D50), and the curve.
PRIMARIES = {
    "Display P3": (
        (0.51512, 0.24120, -0.00105),
        (0.29198, 0.69225, 0.04189),
        (0.15710, 0.06657, 0.78407),
    ),
    "Adobe RGB": (
        (0.60974, 0.31111, 0.01947),
        (0.20528, 0.62567, 0.06087),
        (0.14919, 0.06322, 0.74457),
    ),
    "ProPhoto": (
        (0.79767, 0.28804, 0.00000),
        (0.13519, 0.71188, 0.00000),
        (0.03134, 0.00009, 0.82491),
    ),
}
GAMMAS = {"Display P3": 2.2, "Adobe RGB": 2.2, "ProPhoto": 1.8}


def rgb(name):
    """A matrix profile of one of `PRIMARIES`."""
    curve = _gamma(GAMMAS[name])
    tags = {b"%cXYZ" % c: _xyz(xyz) for c, xyz in zip(b"rgb", PRIMARIES[name], strict=True)}
    return _profile(b"RGB ", b"XYZ ", tags | {b"%cTRC" % c: curve for c in b"rgb"})


def grey(gamma):
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": _gamma(gamma)})


def cmyk():
    """A table of the sixteen full inks; what (1 - c)(1 - k) and so on is in sRGB, between them."""
    inks = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(16, 4)
    colours = 255 * (1 - inks[:, :3]) * (1 - inks[:, 3:])
    lab = ImageCms.profileToProfile(
        Image.fromarray(colours[None].astype(np.uint8)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    straight = bytes(range(256))
    signed = np.asarray(lab)[0].copy()
    signed[:, 1:] ^= 0x80  # Pillow keeps a and b with their sign, a table of 8 bits with 128 as 0
    table = (
        b"mft1"
        + bytes(4)
        + bytes([4, 3, 2, 0])
        + np.eye(3, dtype=">i4").tobytes().replace(b"\0\0\0\1", b"\0\1\0\0")
    )
    return _profile(
        b"CMYK", b"Lab ", {b"A2B0": table + 4 * straight + signed.tobytes() + 3 * straight}
    )


def _profile(space, connection, tags):
    tags = {b"desc": _text(b"made for a test"), b"wtpt": _xyz(D50)} | tags
    place, index, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        index += name + struct.pack(">II", place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4xI", place + len(body), 0x02400000) + kind + space + connection
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(D50)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + index + body


def _xyz(values):
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))


def _gamma(value):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * value))


def _text(words):
    return b"desc" + bytes(4) + struct.pack(">I", len(words) + 1) + words + bytes(1 + 78)
