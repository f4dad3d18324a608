"""Synthetic pictures and data for the tests; nothing here comes from a dataset."""

import struct
import zlib

import cv2
import numpy as np
import pandas as pd
from sklearn.datasets import load_sample_image

from skin_cancer.diagnoses import BY_HAM_CODE

COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset")


def lesion(width=600, height=450, seed=0):
    """Draw skin with one dark, irregular spot: uint8 RGB (height, width, 3)."""
    rng = np.random.default_rng(seed)
    skin = np.full((height, width, 3), (214, 170, 150), np.float32)
    skin += cv2.resize(rng.normal(0, 5, (18, 24, 1)), (width, height), interpolation=2)[..., None]
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radii = min(width, height) * rng.uniform(0.22, 0.3, 40)
    x, y = width / 2 + radii * np.cos(angles), height / 2 + 0.8 * radii * np.sin(angles)
    spot = np.zeros((height, width), np.float32)
    cv2.fillPoly(spot, [np.stack([x, y], axis=1).astype(np.int32)], 1)
    spot = cv2.GaussianBlur(spot, (0, 0), min(width, height) / 60)[..., None]
    texture = cv2.resize(rng.normal(0, 1, (54, 72)), (width, height), interpolation=2)[..., None]
    pigment = np.array((125, 78, 58), np.float32) + 16 * texture
    image = skin * (1 - spot) + pigment * spot + rng.normal(0, 3, skin.shape)
    return image.clip(0, 255).astype(np.uint8)


def photograph():
    """A photograph of a building: uint8 RGB (427, 640, 3)."""
    return load_sample_image("china.jpg")


def text_page(width=600, height=800):
    """Draw a page of black text on white: uint8 RGB (height, width, 3)."""
    page = np.full((height, width, 3), 255, np.uint8)
    for y in range(40, height - 20, 32):
        cv2.putText(page, "The patient was seen again", (30, y), 0, 1, (20, 20, 20), 2, cv2.LINE_AA)
    return page


def noise(width=600, height=450, seed=0):
    """Draw pixels of random colours: uint8 RGB (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(image, extension=".jpg"):
    """Return the bytes of an image file."""
    _, data = cv2.imencode(extension, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return data.tobytes()


def png_header(width, height):
    """A PNG whose header promises so many pixels, of which none follow."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    length, check = struct.pack(">I", 13), struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + length + header + check + b"\0\0\0\0IDAT"


def write_ham10000(folder, lesions=8, codes=tuple(BY_HAM_CODE)):
    """Write a synthetic dataset in HAM10000's layout; every third lesion has two images."""
    rows = []
    for number, dx in enumerate(dx for dx in codes for _ in range(lesions)):
        for _ in range(2 if number % 3 == 0 else 1):
            image_id = f"ISIC_{len(rows):07d}"
            part = folder / f"HAM10000_images_part_{1 + len(rows) % 2}"
            part.mkdir(parents=True, exist_ok=True)
            (part / f"{image_id}.jpg").write_bytes(encoded(lesion(96, 72, seed=len(rows))))
            source = f"synth_{number % 2}"
            rows.append(
                [f"HAM_{number:07d}", image_id, dx, "histo", 50.0, "female", "back", source]
            )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.to_csv(folder / "HAM10000_metadata.csv", index=False)
    return table


def write_isic2019(folder, lesions=8, first=0):
    """Write a synthetic dataset in the layout of ISIC 2019: eight diagnoses, ids from `first`."""
    images = folder / "ISIC_2019_Training_Input"
    images.mkdir(parents=True)
    codes = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
    rows = []
    for number, code in enumerate(code for code in codes[:-1] for _ in range(lesions)):
        name = f"ISIC_{first + number:07d}"
        (images / f"{name}.jpg").write_bytes(encoded(lesion(96, 72, seed=number)))
        rows.append([name, *(float(code == other) for other in codes)])
    truth = pd.DataFrame(rows, columns=["image", *codes])
    truth.to_csv(folder / "ISIC_2019_Training_GroundTruth.csv", index=False)
    details = pd.DataFrame({"image": truth["image"], "age_approx": 55, "sex": "female"})
    details["anatom_site_general"] = "head/neck"
    details["lesion_id"] = [f"L{i}" if i % 2 else None for i in range(len(details))]
    details.to_csv(folder / "ISIC_2019_Training_Metadata.csv", index=False)


def with_exif(jpeg, secret):
    """Return a JPEG's bytes with some more in its EXIF part."""
    exif = b"\xff\xe1" + (len(secret) + 10).to_bytes(2) + b"Exif\0\0" + secret + b"\0\0"
    return jpeg[:2] + exif + jpeg[2:]


def write_milk10k(folder, lesions=8):
    """Write a synthetic dataset in the layout of MILK10k: a close-up beside each image."""
    codes = ["AKIEC", "BCC", "BEN_OTH", "BKL", "DF", "INF", "MAL_OTH", "MEL", "NV", "SCCKA", "VASC"]
    truth, details = [], []
    for number, code in enumerate(code for code in codes for _ in range(lesions)):
        name = f"IL_{number:07d}"
        images = folder / "MILK10k_Training_Input" / name
        images.mkdir(parents=True)
        truth.append([name, *(float(code == other) for other in codes)])
        for kind, place in (("dermoscopic", 8_000_000), ("clinical: close-up", 9_000_000)):
            image = f"ISIC_{place + number}"
            (images / f"{image}.jpg").write_bytes(encoded(lesion(96, 72, seed=number)))
            details.append([name, kind, image, 60, "female", number % 6, "trunk", 0.25])
    columns = ["lesion_id", "image_type", "isic_id", "age_approx", "sex", "skin_tone_class", "site"]
    tables = {
        "GroundTruth": pd.DataFrame(truth, columns=["lesion_id", *codes]),
        "Metadata": pd.DataFrame(details, columns=[*columns, "MONET_hair"]),
        "Supplement": pd.DataFrame(
            {"isic_id": [row[2] for row in details], "diagnosis_confirm_type": "histopathology"}
        ),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"MILK10k_Training_{name}.csv", index=False)
