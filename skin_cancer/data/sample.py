"""A synthetic sample of the dataset: seeded drawings of lesions, in the official layouts."""

import csv
import hashlib
import math
import os
import tempfile
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from skin_cancer.diagnoses import BY_CODE
from skin_cancer.errors import DatasetError

HEIGHT, WIDTH = 450, 600
SKIN_TONES = (60, 40, 20, 0, -20, -40)  # individual typology angles in degrees, light to dark
ARTEFACTS = ("ink", "hair", "bubbles", "ruler", "dark corners")
SEED = 2018
ID_PREFIX = "SYN_"
MASKS = "HAM10000_segmentations_lesion_tschandl"
TEST_IMAGES = "ISIC2018_Task3_Test_Images"
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset")
LABEL = "SYNTHETIC"

Seed = int | tuple[int, ...]

README = """\
# Synthetic sample

Every picture in this folder was drawn by the program `skin_cancer.data.sample`. None shows a
patient, and labels, ages and body sites are invented: nothing here means anything medically. The
layout is that of HAM10000 and of the ISIC 2018 test set, so that code for the real data runs on it.
"""

# Lesions to train on, lesions to test on, mean age, usual body sites.
_CASES: dict[str, tuple] = {
    "MEL": (12, 8, 61, ("back", "upper extremity", "lower extremity", "face", "trunk")),
    "NV": (30, 14, 46, ("back", "trunk", "abdomen", "lower extremity", "foot", "chest")),
    "BCC": (10, 7, 67, ("face", "back", "neck", "chest", "ear", "scalp")),
    "AKIEC": (9, 6, 66, ("face", "scalp", "hand", "upper extremity", "lower extremity")),
    "BKL": (12, 8, 64, ("back", "face", "chest", "upper extremity", "trunk")),
    "DF": (8, 5, 52, ("lower extremity", "upper extremity", "back")),
    "VASC": (8, 5, 51, ("trunk", "back", "abdomen", "chest", "acral", "genital")),
}

# How benign diagnoses were confirmed; the malignant ones always by histology.
_BENIGN_PROOFS = {
    "NV": ("follow_up", "follow_up", "histo", "consensus"),
    "BKL": ("histo", "histo", "consensus", "confocal"),
    "DF": ("histo", "consensus"),
    "VASC": ("histo", "consensus", "consensus"),
}

# The share of the skin's light that a structure lets through (red, green, blue).
_TAN = (0.88, 0.77, 0.64)
_BROWN = (0.66, 0.53, 0.43)
_DARK = (0.46, 0.36, 0.31)
_BLACK = (0.26, 0.22, 0.23)
_PINK = (0.97, 0.80, 0.80)
_RED = (0.84, 0.46, 0.46)
_PURPLE = (0.50, 0.24, 0.34)
_SLATE = (0.52, 0.56, 0.68)
# What light an opaque structure sends back itself on light skin.
_BLUE_GREY = (0.45, 0.49, 0.56)
_WHITE = (0.92, 0.85, 0.82)
_YELLOW = (0.90, 0.80, 0.60)
_CRUST = (0.60, 0.27, 0.17)
_VIOLET = (0.36, 0.24, 0.66)

_SIDE = 448  # of the square that a lesion is painted on, in pixels
_STRIP = np.s_[HEIGHT - 28 :, (WIDTH - HEIGHT) // 2 : (WIDTH - HEIGHT) // 2 + 138]  # the label's


@dataclass(frozen=True)
class Drawing:
    """A synthetic dermatoscopic picture and what is in it.

    Attributes:
        image: uint8 RGB (450, 600, 3).
        bare: uint8 RGB (450, 600, 3), the same picture without any artefact.
        lesion: bool (450, 600), where the lesion is.
        hairs: bool (450, 600), where hairs are drawn.
        artefacts: those of `ARTEFACTS` that are in the picture.
    """

    image: np.ndarray
    bare: np.ndarray
    lesion: np.ndarray
    hairs: np.ndarray
    artefacts: tuple[str, ...]


def draw(code: str, seed: Seed, view: int = 0, artefacts: Collection[str] | None = None) -> Drawing:
    """Draw one photograph of a lesion, a function of the arguments alone.

    Args:
        code: an ISIC 2018 code, such as `MEL`.
        seed: decides the lesion and the skin tone; an integer or a tuple of integers, 0 or more.
        view: decides rotation, scale, place, light and artefacts of the photograph, 0 or more.
        artefacts: which of `ARTEFACTS` to draw; None leaves it to seed and view.

    Returns:
        The picture, labelled as synthetic at the bottom left of its centred square.

    Raises:
        DatasetError: an unknown code or artefact.

    >>> drawing = draw("NV", seed=7, artefacts=["ruler"])
    >>> drawing.image.shape, drawing.lesion.shape, drawing.artefacts
    ((450, 600, 3), (450, 600), ('ruler',))
    """
    unknown = {code} - set(_PAINTERS) | set(artefacts or ()) - set(ARTEFACTS)
    if unknown:
        raise DatasetError(
            f"{', '.join(sorted(unknown))} cannot be drawn. Choose a diagnosis of "
            f"{', '.join(_PAINTERS)} and artefacts of {', '.join(ARTEFACTS)}."
        )
    seed = seed if isinstance(seed, tuple) else (seed,)
    paint, radii, uneven, rough = _PAINTERS[code]
    lesion = _Lesion(np.random.default_rng((0, *seed)), radii, uneven, rough)
    paint(lesion, lesion.rng)
    tone = np.random.default_rng((1, *seed)).choice(SKIN_TONES)
    photograph, chance, *details = np.random.default_rng((2 + view, *seed)).spawn(7)
    if artefacts is None:
        artefacts = [name for name in ARTEFACTS if chance.random() < 0.3]

    scene, mask = _photograph(lesion, tone, photograph)
    bare = scene.copy()
    drawn = {
        name: _ADD[name](scene, rng)
        for name, rng in zip(ARTEFACTS, details, strict=True)
        if name in artefacts
    }
    hairs = drawn.get("hair", np.zeros((HEIGHT, WIDTH), bool))
    hairs[_STRIP] = False
    return Drawing(_developed(scene), _developed(bare), mask, hairs, tuple(drawn))


def add_artefact(image: np.ndarray, name: str, seed: Seed) -> np.ndarray:
    """Draw one artefact over any photograph, stretched to its size, a function of the arguments.

    Args:
        image: uint8 RGB (height, width, 3); one higher than wide gets the artefact turned.
        name: one of `ARTEFACTS`.
        seed: an integer or a tuple of integers, 0 or more.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        DatasetError: an unknown artefact.
    """
    if name not in _ADD:
        raise DatasetError(f"{name} cannot be drawn. Choose of {', '.join(ARTEFACTS)}.")
    light = np.stack([np.zeros((HEIGHT, WIDTH, 3)), np.ones((HEIGHT, WIDTH, 3))]).astype(np.float32)
    for scene in light:
        _ADD[name](scene, np.random.default_rng(seed))
    height, width = image.shape[:2]
    if height > width:
        light = np.rot90(light, axes=(1, 2))
    method = cv2.INTER_AREA if max(height, width) < WIDTH else cv2.INTER_LINEAR
    black, white = (cv2.resize(scene, (width, height), interpolation=method) for scene in light)
    return (255 * black + (white - black) * image).round().clip(0, 255).astype(np.uint8)


def write_sample(folder: str | Path) -> Path:
    """Write the synthetic sample, aside and then renamed into place.

    It has the layout of HAM10000 on Harvard Dataverse (Tschandl et al. 2018: images, masks and
    metadata, the test set of ISIC 2018 Task 3), and is the same wherever it is written.

    Args:
        folder: does not exist yet.

    Returns:
        The folder.

    Raises:
        DatasetError: the folder exists or cannot be written; nothing is left behind.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside:
            whole = Path(aside) / folder.name
            _write(whole)
            whole.rename(folder)
    except OSError as error:
        raise DatasetError(
            f"The sample cannot be written to {folder}: {error.strerror}. It needs a new "
            "folder, in a place with 15 MB of room that you may write to."
        ) from error
    return folder


def sample_folder() -> Path:
    """Return the synthetic sample in the user's cache; the first call writes it, in seconds.

    Each version of this module has a folder of its own there.

    Raises:
        DatasetError: the cache cannot be written.
    """
    import pooch  # not at the top: a machine that only trains does without it

    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    folder = pooch.os_cache("skin_cancer") / f"sample-{version}"
    if folder.is_dir():
        return folder
    try:
        return write_sample(folder)
    except DatasetError as error:
        if folder.is_dir():  # another process was first
            return folder
        raise DatasetError(
            f"{error} On Linux, set XDG_CACHE_HOME to such a place to keep the sample there."
        ) from error


# The dataset's files.


def _write(folder):
    """Draw every picture of `_cohort` and write the dataset's files."""
    rows = _cohort()
    for name in {*(row["folder"] for row in rows), MASKS}:
        (folder / name).mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda row: _write_picture(folder, row), rows))

    tested = [row for row in rows if row["folder"] == TEST_IMAGES]
    trained = [row for row in rows if row["folder"] != TEST_IMAGES]
    _write_table(folder / "HAM10000_metadata.csv", trained)
    _write_table(folder / "ISIC2018_Task3_Test_GroundTruth.csv", tested)
    (folder / "README.md").write_text(README, encoding="utf-8")


def _write_table(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _write_picture(folder, row):
    drawing = draw(row["code"], (SEED, row["lesion"]), row["view"])
    bgr, mask = drawing.image[..., ::-1], 255 * drawing.lesion.astype(np.uint8)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])
    _, png = cv2.imencode(".png", mask)
    (folder / row["folder"] / f"{row['image_id']}.jpg").write_bytes(jpeg)
    (folder / MASKS / f"{row['image_id']}_segmentation.png").write_bytes(png)


def _cohort():
    """List the images: the official columns, and code, number of the lesion, view and folder."""
    rng = np.random.default_rng(SEED)
    lesions = [
        (str(code), test)
        for test in (False, True)
        for code in rng.permutation([code for code in _CASES for _ in range(_CASES[code][test])])
    ]
    rows: list[dict] = []
    for number, (code, test) in enumerate(lesions, 1):
        lesion = {
            "lesion_id": f"{ID_PREFIX}L{number:05d}",
            "dx": BY_CODE[code].ham_code,
            "dataset": "synthetic",
            "code": code,
            "lesion": number,
            "folder": TEST_IMAGES if test else f"HAM10000_images_part_{1 + number % 2}",
            **_patient(rng, code),
        }
        for view in range(1 if test else rng.choice((1, 2, 3), p=(0.6, 0.25, 0.15))):
            rows.append({"image_id": f"{ID_PREFIX}{len(rows) + 1:07d}", "view": view, **lesion})
    return rows


def _patient(rng, code):
    *_, age, places = _CASES[code]
    kinds = ("histo",) if BY_CODE[code].malignant else _BENIGN_PROOFS[code]
    return {
        "dx_type": rng.choice(kinds),
        "age": 5.0 * round(rng.normal(age, 14) / 5) if rng.random() < 0.96 else None,
        "sex": rng.choice(("male", "female", "unknown"), p=(0.53, 0.44, 0.03)),
        "localization": rng.choice(places) if rng.random() < 0.96 else "unknown",
    }


# The lesion, in its own coordinates.


class _Lesion:
    """What a lesion does to the light of the skin: `skin * through + glow`, by planes.

    `reach` is the outline's distance from the middle in pixels, by half degrees; `depth` is 1 in
    the middle, 0 at the outline and negative outside.
    """

    shape = (_SIDE, _SIDE)

    def __init__(
        self, rng: np.random.Generator, radii: tuple[float, float], uneven: float, rough: float
    ):
        rho, angle = _polar()
        turns = np.linspace(0, 2 * np.pi, 721)
        outline = np.zeros(721)
        for k in range(2, 8):
            outline += rng.normal(0, uneven / k**0.7) * np.cos(k * turns + rng.uniform(0, 7))
        ratio = rng.uniform(0.85, 1)
        outline += np.hypot(ratio * np.cos(turns), np.sin(turns) / ratio) - 1
        self.rng = rng
        self.reach = (rng.uniform(*radii) * np.exp(outline.clip(-0.5, 0.4))).astype(np.float32)
        self.depth = 1 - rho / self.reach[angle] + rough * (self.noise(14) + self.noise(40) / 2)
        self.through = np.ones((3, _SIDE, _SIDE), np.float32)
        self.glow = np.zeros((3, _SIDE, _SIDE), np.float32)

    def noise(self, cells):
        return _noise(self.rng, self.shape, cells)

    def within(self, start, end):
        """Rise from 0 at the depth `start` to 1 at the depth `end`."""
        return _ramp(self.depth, start, end)

    def near_edge(self, angle):
        """Return the distance to a point within the outline at that angle, and the point."""
        reach = 0.85 * self.reach[int(np.degrees(2 * angle)) % 720]
        return reach, _SIDE / 2 + reach * np.array([np.cos(angle), np.sin(angle)])

    def absorb(self, where, colour):
        """Let only the share `colour` of the light through, in full where `where` is 1."""
        where = where.clip(0, 1)
        for plane, part in enumerate(colour):
            share = 1 - (1 - part) * where
            self.through[plane] *= share
            self.glow[plane] *= share

    def cover(self, where, colour):
        """Lay something opaque over it, in full where `where` is 1."""
        where = where.clip(0, 1)
        for plane, part in enumerate(colour):
            self.through[plane] *= 1 - where
            self.glow[plane] += (part - self.glow[plane]) * where


@cache
def _polar():
    """Return the distance from the middle in pixels, and the angle in half degrees."""
    y, x = np.mgrid[:_SIDE, :_SIDE].astype(np.float32) - _SIDE / 2
    rho, angle = cv2.cartToPolar(x, y, angleInDegrees=True)
    return rho, (2 * angle).astype(np.intp).clip(0, 720)


def _noise(rng, shape, cells):
    """Make a smooth random field with mean 0 and deviation about 1, `cells` waves across."""
    rows = max(2, round(cells * shape[0] / shape[1]))
    return _enlarged(1.4 * rng.standard_normal((rows, cells), np.float32), shape)


def _enlarged(field, shape):
    return cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _ramp(field, start, end):
    return ((field - start) / (end - start)).clip(0, 1)


def _soft(field, width):
    return cv2.GaussianBlur(field, (0, 0), width)


def _cells(rng, shape, spacing):
    """Jitter a hexagonal lattice: rows, columns of its points; distance and number of the next."""
    y, x = np.mgrid[0 : shape[0] : 0.87 * spacing, 0 : shape[1] : spacing]
    x[1::2] += spacing / 2
    y, x = (grid.ravel() + rng.uniform(-0.3, 0.3, grid.size) * spacing for grid in (y, x))
    y, x = y.clip(0, shape[0] - 1).astype(int), x.clip(0, shape[1] - 1).astype(int)
    empty = np.ones(shape, np.uint8)
    empty[y, x] = 0
    distance, nearest = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    return y, x, distance, nearest


def _net(rng, shape, spacing, width):
    """Draw the borders between cells as soft lines, in [0, 1]."""
    *_, nearest = _cells(rng, shape, spacing)
    border = np.zeros(shape, np.float32)
    border[:, 1:] = nearest[:, 1:] != nearest[:, :-1]
    border[1:] += nearest[1:] != nearest[:-1]
    return (_soft(border, width) * 2 * width).clip(0, 1)


def _blobs(rng, chance, spacing, sizes, uneven):
    """Draw round spots of radii between `sizes`, each there with the `chance` of its place."""
    y, x, distance, nearest = _cells(rng, chance.shape, spacing)
    radius = np.zeros(nearest.max() + 1, np.float32)
    radius[nearest[y, x]] = rng.uniform(*sizes, len(y)) * (rng.random(len(y)) < chance[y, x])
    reach = radius[nearest] * (1 + uneven * _noise(rng, chance.shape, 40))
    return _ramp(reach - distance, 0, 1.5)


def _stroke(rng, mask, start, angle, length, bend, widths):
    """Draw a bent, tapering line into a uint8 mask; return its points and directions."""
    t = np.linspace(0, 1, 24)
    heading = angle + bend * t + 0.12 * np.cumsum(rng.normal(0, 0.5, 24))
    step = length / 24 * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    points = np.array(start) + np.cumsum(step, axis=0)
    half = np.linspace(widths[0], widths[1], 24)[:, None] / 2
    normal = np.stack([-np.sin(heading), np.cos(heading)], axis=1) * half
    polygon = np.concatenate([points + normal, (points - normal)[::-1]])
    cv2.fillPoly(mask, [(16 * polygon).round().astype(np.int32)], 255, cv2.LINE_AA, 4)
    return points, heading


def _vessels(lesion):
    """Draw arborising vessels: trunks from the edge inwards that branch twice, in [0, 1]."""
    rng = lesion.rng
    mask = np.zeros(lesion.shape, np.uint8)
    for angle in rng.uniform(0, 2 * np.pi, rng.integers(3, 6)):
        reach, start = lesion.near_edge(angle)
        inwards = angle + np.pi + rng.normal(0, 0.5)
        twigs = [(start, inwards, rng.uniform(1.0, 1.6) * reach, rng.uniform(2.4, 4.0))]
        while twigs:
            start, heading, length, width = twigs.pop()
            bend = rng.normal(0, 1.0)
            path, headings = _stroke(rng, mask, start, heading, length, bend, (width, 0.7))
            if width > 1.2:
                for at in rng.integers(4, 23, rng.integers(3, 6)):
                    turn = rng.choice([-1, 1]) * rng.uniform(0.4, 1.0)
                    share = rng.uniform(0.2, 0.5)
                    twigs.append((path[at], headings[at] + turn, share * length, 0.6 * width))
    return _soft(mask / np.float32(255), 0.7)


def _streaks(lesion):
    """Draw radial streaks along one part of the outline, in [0, 1]."""
    rng = lesion.rng
    mask = np.zeros(lesion.shape, np.uint8)
    for angle in rng.normal(rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.2), 30):
        reach, start = lesion.near_edge(angle)
        length, widths = reach * rng.uniform(0.2, 0.35), (rng.uniform(6, 11), 3)
        _stroke(rng, mask, start, angle, length, rng.normal(0, 0.3), widths)
    return _soft(mask / np.float32(255), 2.2)


# One painter a diagnosis.


def _naevus(lesion, rng):
    lesion.absorb(lesion.within(-0.08, 0.3), _TAN)
    lesion.absorb(lesion.within(-0.05, 0.7) * (0.85 + 0.12 * lesion.noise(6)), _BROWN)
    kind = rng.random()
    if kind < 0.6:
        net = _net(rng, lesion.shape, rng.uniform(9, 12), 1.5) * (0.8 + 0.2 * lesion.noise(12))
        fade = lesion.within(-0.1, 0.3) * (1 - 0.6 * lesion.within(0.3, 0.9))
        lesion.absorb(0.7 * net * fade, _DARK)
    elif kind < 0.85:
        globules = _blobs(rng, 0.8 * lesion.within(0.0, 0.1), 11, (1.5, 4.5), 0.15)
        lesion.absorb(0.6 * _soft(globules, 1.3), _DARK)
    lesion.absorb(rng.uniform(0.1, 0.6) * lesion.within(0.3, 1.1), _DARK)
    lesion.absorb(0.12 * lesion.within(0, 0.3) * lesion.noise(30), _DARK)


def _melanoma(lesion, rng):
    inside = lesion.within(-0.06, 0.1)
    lesion.absorb(inside, _TAN)
    lesion.absorb(inside * _ramp(lesion.noise(4), -1.6, 0.6), _BROWN)
    lesion.absorb(0.6 * inside * _ramp(lesion.noise(4), 0.3, 1.5), _RED)
    net = _net(rng, lesion.shape, 14, 2.2) * _ramp(lesion.noise(4), -0.3, 0.9)
    lesion.absorb(0.7 * inside * net, _DARK)
    lesion.absorb(rng.uniform(0, 0.9) * _streaks(lesion), _DARK)
    blotches = _ramp(lesion.noise(4) + lesion.noise(22) / 4, 0.1, 1.2)
    lesion.absorb(0.85 * inside * blotches, _DARK)
    lesion.absorb(0.7 * lesion.within(0, 0.15) * _ramp(lesion.noise(4), 0.7, 1.5), _BLACK)
    dots = _blobs(rng, 0.6 * inside * _ramp(lesion.noise(4), 0, 1), 12, (1, 4), 0.2)
    lesion.absorb(0.75 * _soft(dots, 0.9), _BLACK)
    veil = lesion.within(0.1, 0.5) * _ramp(lesion.noise(4), 0.0, 1.6)
    veil *= rng.uniform(0.2, 0.7) + 0.08 * lesion.noise(24)
    lesion.cover(veil, _BLUE_GREY)
    scar = lesion.within(0.05, 0.4) * _ramp(lesion.noise(4) + lesion.noise(16) / 4, 1.0, 2.4)
    lesion.cover(0.45 * scar, _WHITE)
    lesion.absorb(_blobs(rng, 0.7 * scar, 7, (0.8, 1.8), 0.1), _SLATE)
    lesion.absorb(0.15 * inside * lesion.noise(40), _DARK)


def _basal_cell_carcinoma(lesion, rng):
    lesion.absorb(lesion.within(-0.1, 0.2) * (0.9 + 0.1 * lesion.noise(7)), _PINK)
    pearl = lesion.within(0, 0.35) * _ramp(lesion.noise(6) + lesion.noise(20) / 4, -1.0, 2.0)
    lesion.cover(0.45 * pearl, _WHITE)
    chance = 0.7 * lesion.within(0.05, 0.2) * _ramp(lesion.noise(4), -0.1, 1.2)
    nests = _soft(_blobs(rng, chance, 30, (5, 17), 0.3), 3)
    lesion.absorb(nests * (0.85 + 0.15 * lesion.noise(30)), _SLATE)
    lesion.absorb(0.7 * _soft(_blobs(rng, 0.3 * chance, 9, (1, 2.5), 0.1), 0.8), _SLATE)
    lesion.absorb(0.75 * lesion.within(-0.05, 0.15) * _vessels(lesion), _RED)
    if rng.random() < 0.3:
        ulcer = lesion.within(0.25, 0.5) * _ramp(lesion.noise(6) + lesion.noise(30) / 3, 1.0, 1.8)
        lesion.cover(0.7 * ulcer, _CRUST)
        lesion.absorb(0.3 * ulcer * lesion.noise(60), _DARK)


def _actinic_keratosis(lesion, rng):
    inside = lesion.within(-0.15, 0.4)
    lesion.absorb(inside * (0.9 + 0.2 * lesion.noise(9)), _PINK)
    lesion.absorb(0.4 * inside * _ramp(lesion.noise(5), -0.5, 1.5), _TAN)
    net = _net(rng, lesion.shape, 20, 4.5) * (0.8 + 0.3 * lesion.noise(20))
    lesion.absorb(0.5 * inside * net, _RED)
    follicles = _blobs(rng, 0.7 * lesion.within(0.0, 0.3), 20, (2, 4.5), 0.15)
    lesion.cover(0.55 * _soft(follicles, 1.5), _YELLOW)
    lesion.absorb(0.5 * _soft(_blobs(rng, 0.4 * inside, 9, (0.8, 1.8), 0.1), 0.7), _BROWN)
    flakes = lesion.noise(6) + 0.5 * lesion.noise(36) + 0.4 * lesion.noise(90)
    scale = lesion.within(-0.05, 0.25) * _ramp(flakes, 0.6, 2.2)
    lesion.cover(0.75 * scale, _WHITE)
    lesion.cover(0.4 * scale * _ramp(lesion.noise(14), 0, 1), _YELLOW)


def _keratosis(lesion, rng):
    inside = lesion.within(-0.02, 0.05)
    lesion.absorb(inside, _TAN)
    brown = rng.uniform(0.2, 0.9) + 0.25 * lesion.noise(5) + 0.1 * lesion.noise(30)
    lesion.absorb(inside * brown, _BROWN)
    lesion.cover(0.16 * inside * _ramp(lesion.noise(26), -0.5, 1.5), _YELLOW)
    ridges = 1 - _ramp(abs(lesion.noise(rng.integers(12, 22))), 0, 0.4)
    furrows = lesion.within(0, 0.15) * ridges * _ramp(lesion.noise(4), -1, 1)
    lesion.absorb(0.5 * _soft(furrows, 1), _DARK)
    openings = _blobs(rng, 0.3 * lesion.within(0.05, 0.2), 26, (2, 6), 0.3)
    lesion.absorb(0.8 * _soft(openings, 1.5), _DARK)
    lesion.absorb(0.6 * _soft(openings, 1), _BLACK)
    cysts = _blobs(rng, 0.35 * lesion.within(0.05, 0.2), 22, (1.5, 4.5), 0.1)
    lesion.cover(0.65 * _soft(cysts, 1.6), _WHITE)


def _dermatofibroma(lesion, rng):
    rim = lesion.within(-0.2, 0.4)
    lesion.absorb(rim * (0.85 + 0.12 * lesion.noise(6)), _TAN)
    lesion.absorb(rng.uniform(0.1, 0.8) * rim, _PINK)
    lesion.absorb(0.3 * rim, _BROWN)
    net = _net(rng, lesion.shape, 10, 1.2) * (0.75 + 0.25 * lesion.noise(10))
    lesion.absorb(0.5 * rim * net, _BROWN)
    scar = _ramp(lesion.depth + 0.07 * lesion.noise(10) + 0.03 * lesion.noise(30), 0.3, 0.75)
    lesion.cover(scar * (0.6 + 0.1 * lesion.noise(24)), _WHITE)


def _vascular(lesion, rng):
    inside = lesion.within(-0.03, 0.05)
    lesion.absorb(inside, _PINK)
    lesion.absorb(rng.uniform(0.5, 0.9) * inside, _RED)
    dark = rng.uniform(0.2, 0.9) + 0.35 * lesion.noise(5)
    for spacing, sizes in ((44, (14, 24)), (26, (6, 13))):
        lacunae = _blobs(rng, 0.9 * lesion.within(0.05, 0.1), spacing, sizes, 0.06)
        lesion.absorb(0.5 * _soft(lacunae, 1.2), _RED)
        lesion.absorb(0.8 * _soft(lacunae, 2) * dark, _PURPLE)
    lesion.cover(0.12 * inside * _ramp(lesion.noise(12), 0, 1.5), _WHITE)


# The painter, and of the outline: radius in pixels, how uneven it is, how rough.
_PAINTERS = {
    "MEL": (_melanoma, (115, 145), 0.12, 0.05),
    "NV": (_naevus, (95, 135), 0.04, 0.015),
    "BCC": (_basal_cell_carcinoma, (105, 140), 0.08, 0.03),
    "AKIEC": (_actinic_keratosis, (110, 145), 0.08, 0.06),
    "BKL": (_keratosis, (105, 140), 0.07, 0.025),
    "DF": (_dermatofibroma, (105, 135), 0.05, 0.03),
    "VASC": (_vascular, (95, 130), 0.08, 0.02),
}


# The photograph.


def _skin(tone, rng):
    """Make skin of a typology angle in degrees (Chardon et al. 1991): float32 RGB (450, 600, 3)."""
    yellow = 16 - 4 * abs(tone) / 60
    lightness = 50 + yellow * math.tan(math.radians(tone))
    lab = np.array([[[lightness, 13, yellow]]], np.float32)
    colour = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)[0, 0]
    shape = (HEIGHT, WIDTH)
    shade = 1 + 0.012 * _noise(rng, shape, 6) + 0.012 * _noise(rng, shape, 60)
    shade += 0.012 * _noise(rng, shape, 160)
    furrows = _net(rng, (HEIGHT // 2, WIDTH // 2), 9, 1.1)
    shade -= 0.035 * _enlarged(furrows, shape)
    flush = 0.012 * _noise(rng, shape, 5) + 0.006 * _noise(rng, shape, 24)
    return cv2.merge([shade * colour[0], *((shade - flush) * part for part in colour[1:])])


def _photograph(lesion, tone, rng):
    """Lay the lesion on skin and light it: float32 RGB in [0, 1] and the lesion's mask."""
    skin = _skin(tone, rng)
    middle = _SIDE / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), rng.uniform(0, 360), rng.uniform(1.0, 1.22))
    matrix[:, 2] += np.array([WIDTH / 2, HEIGHT / 2]) - middle + rng.uniform(-25, 25, 2)

    def moved(planes, outside):
        return cv2.warpAffine(cv2.merge(list(planes)), matrix, (WIDTH, HEIGHT), borderValue=outside)

    through, glow = moved(lesion.through, (1, 1, 1)), moved(lesion.glow, (0, 0, 0))
    scene = skin * through + skin.mean() / 0.7 * glow
    scene = _soft(scene, rng.uniform(0.6, 0.9)) * _light(rng)
    scene += cv2.merge([0.008 * rng.standard_normal((HEIGHT, WIDTH), np.float32)] * 3)
    return scene, moved([lesion.depth], -1) > 0


def _light(rng):
    y, x = np.mgrid[-1:1:15j, -1:1:20j]
    tilt_x, tilt_y = rng.normal(0, 0.03, 2)
    field = 1.14 + tilt_x * x + tilt_y * y - rng.uniform(0.05, 0.12) * (x**2 + y**2)
    light = field[..., None] * rng.uniform(0.97, 1.03, 3) * rng.uniform(0.97, 1.08)
    return _enlarged(light.astype(np.float32), (HEIGHT, WIDTH))


def _blend(scene, mask, opacity, colour):
    alpha = cv2.merge([mask] * 3).astype(np.float32) * (opacity / 255)
    scene += alpha * (np.array(colour, np.float32) - scene)


def _add_ink(scene, rng):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for _ in range(rng.integers(2, 5)):
        angle = rng.uniform(0, 2 * np.pi)
        start = [WIDTH / 2 * (1 + 0.98 * np.cos(angle)), HEIGHT / 2 * (1 + 0.98 * np.sin(angle))]
        width = rng.uniform(14, 22)
        _stroke(rng, mask, start, angle + np.pi / 2, rng.uniform(70, 160), 0.8, (width, width))
    density = _soft(mask, 2) / 255 * (0.65 + 0.2 * _noise(rng, mask.shape, 50)).clip(0, 1)
    scene *= cv2.merge([1 - (1 - part) * density for part in _VIOLET]).astype(np.float32)


def _add_hairs(scene, rng):
    """Draw hairs and return where they are: bool (450, 600)."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    main = rng.uniform(0, 2 * np.pi)
    for _ in range(rng.integers(5, 18)):
        start = rng.uniform((0, 0), (WIDTH, HEIGHT))
        length, bend = rng.uniform(150, 420), rng.normal(0, 0.7)
        widths = (rng.uniform(2.5, 4.5), 0.8)
        _stroke(rng, mask, start, main + rng.normal(0, 0.5), length, bend, widths)
    colour = (0.12, 0.09, 0.08) if rng.random() < 0.75 else (0.80, 0.70, 0.56)
    _blend(scene, mask, 0.9, colour)
    return mask > 0


def _add_bubbles(scene, rng):
    rims, rings, glints = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    for _ in range(rng.integers(5, 14)):
        radius = rng.uniform(4, 20)
        centre = rng.uniform((0, 0), (WIDTH, HEIGHT))
        for mask, share, width in ((rims, 1.0, 2), (rings, 0.88, 2), (glints, 0.16, -1)):
            place = centre - 0.45 * radius * (mask is glints)
            x, y, reach = (16 * np.array([*place, share * radius])).astype(int).tolist()
            cv2.circle(mask, (x, y), reach, 255, width, cv2.LINE_AA, 4)
    _blend(scene, _soft(rims, 1), 0.35, (0.2, 0.15, 0.12))
    _blend(scene, _soft(rings, 1.2), 0.55, (1, 1, 1))
    _blend(scene, _soft(glints, 0.8), 0.9, (1, 1, 1))


def _add_ruler(scene, rng):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    gap, phase = rng.uniform(24, 34), rng.uniform(0, 20)
    for number in range(int((WIDTH - phase) / gap) + 1):
        x = round(phase + number * gap)
        length = 26 if number % 5 == 0 else 14
        cv2.line(mask, (x, 0), (x, length), 255, 2, cv2.LINE_AA)
        if number % 5 == 0:
            cv2.putText(
                mask, str(number), (x - 6, 44), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA
            )
    _blend(scene, mask, 0.85, (0.08, 0.08, 0.09))


def _add_dark_corners(scene, rng):
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    cx, cy = np.array([WIDTH, HEIGHT]) / 2 + rng.uniform(-10, 10, 2)
    rho = np.hypot(x - cx, y - cy)
    radius = rng.uniform(295, 345)
    scene *= cv2.merge([1 - 0.97 * _ramp(rho, radius - 6, radius + 8)] * 3)


_ADD = {
    "ink": _add_ink,
    "hair": _add_hairs,
    "bubbles": _add_bubbles,
    "ruler": _add_ruler,
    "dark corners": _add_dark_corners,
}


def _developed(scene):
    """Turn light into uint8 and label the picture as synthetic."""
    image = (255 * scene).clip(0, 255).astype(np.uint8)
    strip = np.full_like(image[_STRIP], 36)
    cv2.putText(strip, LABEL, (6, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (205,) * 3, 2, cv2.LINE_AA)
    image[_STRIP] = strip
    return image
