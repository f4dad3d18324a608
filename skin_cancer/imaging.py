"""Pictures with OpenCV: decode untrusted bytes, crop and resize, clean, describe."""

import functools
import io
import math
import warnings
from itertools import pairwise

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from skin_cancer.errors import ImageError

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
MAX_BYTES = 50_000_000
MAX_PIXELS = 50_000_000  # the most of a camera, and read within 500 MB of memory
MIN_SIDE = 32
MAX_SCANS = 64  # of a JPEG; cameras and programs write at most about ten
JPEG, PNG = b"\xff\xd8", b"\x89PNG"
SCAN = b"\xff\xda"
DAMAGED = "The picture is damaged or incomplete. Save or send it again."
LEVEL_QUALITY = 75
HAIR_SHARE, CORNER_SHARE, INK_SHARE, RULER_SCORE = 0.01, 0.01, 0.003, 0.4

# What is wrong with a picture is said by ImageError; OpenCV need not write it to the console.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(data: bytes) -> np.ndarray:
    """Decode the bytes of an image file from anyone.

    Size and format are checked on the header, before the pixels are allocated. EXIF
    orientation is applied; grey, palette, alpha, CMYK and 16-bit pictures become 8-bit RGB.

    Args:
        data: a JPEG, PNG, BMP, TIFF or WebP file, at most 50 MB and 50 megapixels.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        ImageError: not such a file, too large, too small or damaged.
    """
    check_bytes(len(data))
    check_size(*read_size(io.BytesIO(data)))
    _check_parts(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(DAMAGED)
    return image


def check_bytes(count: int) -> None:
    """Refuse files that are empty or too large to be read.

    Raises:
        ImageError: says the size and what to do.
    """
    if count < 1:
        raise ImageError("The file is empty. Choose a picture.")
    if count > MAX_BYTES:
        raise ImageError(
            f"The file has {count / 1e6:.0f} MB; at most {MAX_BYTES / 1e6:.0f} MB are read. "
            "Save the picture as JPEG and try again."
        )


def check_size(width: int, height: int) -> None:
    """Refuse pictures that are too large or too small to be classified.

    Raises:
        ImageError: says the size and what to do.
    """
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"The picture has {width} x {height} pixels; at most {MAX_PIXELS / 1e6:.0f} megapixels "
            "are read. Make it smaller and try again."
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"The picture has only {width} x {height} pixels; at least {MIN_SIDE} on each side "
            "are needed."
        )


def read_size(file) -> tuple[int, int]:
    """Return width and height in pixels, from the header alone.

    Args:
        file: a path, or a binary file to read from.

    Raises:
        ImageError: not an image file, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as header:
                return header.size
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"The picture has more than {MAX_PIXELS / 1e6:.0f} megapixels. Make it smaller and try "
            "again."
        ) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise ImageError(
            "This file cannot be read as a picture. Choose a whole JPEG, PNG, BMP, TIFF or WebP "
            "file."
        ) from error


def _check_parts(data):
    """Refuse what would take OpenCV much work or memory, whatever the size in the header."""
    if data.startswith(JPEG) and data.count(SCAN) > MAX_SCANS:
        raise ImageError("The picture is a JPEG of too many parts. Save it again and try that.")
    if data.startswith(PNG):
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.verify()  # that its parts are as long as they say
        except (OSError, ValueError, SyntaxError) as error:
            raise ImageError(DAMAGED) from error


def centre_square(image: np.ndarray, size: int, share: float = 1.0) -> np.ndarray:
    """Cut the largest centred square, or a share of its side, and resize it.

    Args:
        image: uint8 RGB (height, width, 3).
        size: side of the result in pixels.
        share: of the side of the largest square, above 0 to 1.

    Returns:
        uint8 RGB (size, size, 3).
    """
    height, width = image.shape[:2]
    side = max(1, round(share * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(square, (size, size), interpolation=method)


def level(image: np.ndarray, side: int) -> np.ndarray:
    """Reduce an image by area and compress it as JPEG of quality 75, colours at half resolution.

    So do images lose what tells them from those of their source that came reduced.

    Args:
        image: uint8 RGB (height, width, 3).
        side: of the shorter side of the result in pixels; a smaller image keeps its size.

    Returns:
        uint8 RGB.
    """
    share = min(1.0, side / min(image.shape[:2]))
    width, height = (round(share * length) for length in image.shape[1::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return compress(small, LEVEL_QUALITY)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Encode as JPEG, colours at half resolution, and decode.

    Args:
        image: uint8 RGB (height, width, 3).
        quality: 0 to 100.

    Returns:
        uint8 RGB (height, width, 3).
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    data = cv2.imencode(".jpg", image[..., ::-1], options)[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def shades_of_grey(image: np.ndarray, power: float = 6) -> np.ndarray:
    """Take out the colour of the light, as if the picture's mean were grey.

    The light's colour is estimated by a Minkowski mean of the pixels (Finlayson & Trezzi 2004,
    "Shades of Gray and Colour Constancy", section 3).

    Args:
        image: uint8 RGB (height, width, 3).
        power: of the Minkowski mean; 1 is the grey-world method.

    Returns:
        uint8 RGB (height, width, 3), about as bright as before.
    """
    pixels = image.reshape(-1, 3).astype(np.float64)
    light = np.power(np.power(pixels, power).mean(axis=0), 1 / power).clip(1)
    gains = np.linalg.norm(light) / math.sqrt(3) / light
    return cv2.transform(image, np.diag(gains))


def find_hairs(image: np.ndarray) -> np.ndarray:
    """Find dark hairs: thin and long, darker than both their sides.

    After DullRazor (Lee et al. 1997, "DullRazor: A software approach to hair removal from
    images", section 2): closings along four directions fill what is narrower than a few pixels;
    of what they fill, long and thin parts are hairs.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        bool (height, width), true on a hair.
    """
    height = image.shape[0]
    grey = image.max(axis=2)
    filled = [cv2.morphologyEx(grey, cv2.MORPH_CLOSE, line) for line in _lines(height // 30)]
    dark = (cv2.subtract(np.max(filled, axis=0), grey) > 32).astype(np.uint8)
    blobs = cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones(2 * [height // 50 | 1], np.uint8))
    thin = cv2.subtract(dark, cv2.dilate(blobs, np.ones((3, 3), np.uint8)))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(thin)
    length = np.hypot(statistics[:, cv2.CC_STAT_WIDTH], statistics[:, cv2.CC_STAT_HEIGHT])
    hairs = (length > height / 10) & (statistics[:, cv2.CC_STAT_AREA] < length * height / 30)
    hairs[0] = False
    return hairs[labels]


def remove_hairs(image: np.ndarray) -> np.ndarray:
    """Replace the hairs of `find_hairs` by what lies beside them (Telea 2004).

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        uint8 RGB (height, width, 3).
    """
    hairs = cv2.dilate(find_hairs(image).astype(np.uint8), np.ones((3, 3), np.uint8))
    return cv2.inpaint(image, hairs, max(2, image.shape[0] / 150), cv2.INPAINT_TELEA)


def describe(image: np.ndarray) -> dict[str, float]:
    """Return simple measures of a picture's quality.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        `width` and `height` in pixels; `brightness`, mean luma, 0 to 255; `warmth`, mean red less
        mean blue, -255 to 255; `sharpness`, the deviation of the Laplacian of a copy 225 high;
        `hair %` and `dark corner %`, shares of the picture.
    """
    height, width = image.shape[:2]
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(luma, (round(225 * width / height), 225), interpolation=cv2.INTER_AREA)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    corners = abs(x) + abs(y) > 1.5
    return {
        "width": width,
        "height": height,
        "brightness": float(luma.mean()),
        "warmth": float(image[..., 0].mean() - image[..., 2].mean()),
        "sharpness": float(cv2.Laplacian(small, cv2.CV_64F).std()),
        "hair %": 100 * float(find_hairs(image).mean()),
        "dark corner %": 100 * float((corners & (luma < 40)).mean()),
    }


def appearance(square: np.ndarray) -> np.ndarray:
    """Describe colours and texture by numbers that vary little among dermatoscopic pictures.

    Args:
        square: uint8 RGB (side, side, 3).

    Returns:
        float64 (63,), all in CIELAB of the square at 224 pixels: quantiles of each channel;
        strength and peakedness of its detail at five scales; its steps from the centre outwards in
        three rings; correlations of the channels.
    """
    lab = cv2.cvtColor(_at(square, 224).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    channels = np.ascontiguousarray(lab[::2, ::2].reshape(-1, 3).T)
    colours = np.quantile(channels, (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98), axis=1)
    rings = [cv2.mean(lab, ring)[:3] for ring in _rings()]
    covariance = np.cov(channels) + 0.01 * np.eye(3)
    deviation = np.sqrt(np.diag(covariance))
    correlation = (covariance / np.outer(deviation, deviation))[np.triu_indices(3, 1)]
    steps = -np.diff(rings, axis=0)
    return np.concatenate([colours.ravel(), _detail(lab, 5), steps.ravel(), correlation])


def _detail(lab, scales):
    """Log of deviation and of fourth moment of each channel at each level of a pyramid."""
    found = []
    for _ in range(scales):
        coarse = cv2.pyrDown(lab)
        fine = lab - cv2.pyrUp(coarse, dstsize=lab.shape[1::-1])
        deviation = cv2.meanStdDev(fine)[1].ravel() + 0.05
        fourth = cv2.mean(cv2.pow(fine, 4))[:3] / deviation**4
        found += [np.log(deviation), np.log(fourth + 0.1)]
        lab = coarse
    return np.concatenate(found)


@functools.cache
def _rings():
    """Masks of the centre of a square of 224 pixels and of three rings around it."""
    distance = np.hypot(*np.ogrid[-1:1:224j, -1:1:224j])
    edges = (0, 0.35, 0.7, 1.0, 1.5)
    return [((a <= distance) & (distance < b)).astype(np.uint8) for a, b in pairwise(edges)]


def _at(square, side):
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)


def artefacts(image: np.ndarray) -> dict[str, bool]:
    """Say what lies over the skin in a picture, by simple rules that miss faint cases.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        `hair`, `ruler`, `dark corners`, `ink`: whether the picture shows so.
    """
    height, width = image.shape[:2]
    small = cv2.resize(image, (round(225 * width / height), 225), interpolation=cv2.INTER_AREA)
    described = describe(small)
    return {
        "hair": described["hair %"] > 100 * HAIR_SHARE,
        "ruler": ruler_score(small) > RULER_SCORE,
        "dark corners": described["dark corner %"] > 100 * CORNER_SHARE,
        "ink": ink_share(small) > INK_SHARE,
    }


def ink_share(image: np.ndarray) -> float:
    """Return the share of a picture that is a marker's ink: much bluer or greener than its skin.

    Only the outer part counts, since lesions can be blue too.

    Args:
        image: uint8 RGB (height, width, 3).
    """
    smooth = cv2.GaussianBlur(image, (0, 0), 1).astype(np.float32)
    green_channel = smooth[..., 1]
    skin = np.median(smooth[green_channel >= np.median(green_channel)], axis=0)
    red, green, blue = np.moveaxis((smooth + 1) / (skin + 1), -1, 0)
    blueish = (blue > 1.35 * green) & (blue > 1.2 * red) & (green < 0.75)
    greenish = (green > 1.35 * red) & (green > 1.2 * blue) & (red < 0.75)
    blueish &= smooth[..., 2] > 1.15 * green_channel
    greenish &= green_channel > 1.15 * smooth.max(axis=2, where=[True, False, True], initial=0)
    y, x = np.ogrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[1] * 1j]
    outer = np.maximum(abs(x), abs(y)) > 0.6
    return float(((blueish | greenish) & outer & (smooth.max(axis=2) > 50)).mean())


def ruler_score(image: np.ndarray) -> float:
    """Return how regularly short dark marks follow each other along a border: at most about 1.

    The marks are dark against both sides; their profile along each border is compared with itself
    one, two, three and four steps further on.

    Args:
        image: uint8 RGB (height, width, 3), about 225 high.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    borders = (grey, grey[::-1], grey.T, grey.T[::-1])
    strips = [border[at : at + 14] for border in borders for at in range(0, 40, 8)]
    return max(_regularity(np.ascontiguousarray(strip)) for strip in strips)


def _regularity(strip):
    """Return the weakest of the first four peaks of a strip's best autocorrelation."""
    marks = cv2.morphologyEx(strip, cv2.MORPH_BLACKHAT, np.ones((1, 9), np.uint8))
    marks = cv2.morphologyEx(marks, cv2.MORPH_OPEN, np.ones((4, 1), np.uint8))
    profile = marks.astype(np.float32).clip(0, 30).mean(axis=0)
    profile -= profile.mean()
    length, energy = len(profile), float(profile @ profile)
    if energy < 0.3 * length:
        return 0.0
    alike = np.correlate(profile, profile, "full")[length - 1 :] / energy
    alike *= length / np.arange(length, 0, -1)
    scores = [
        min(alike[step * k - (k > 1) : step * k + k].max() for k in (1, 2, 3, 4))
        - max(0.0, alike[step // 2 : step // 2 + 2].min())
        for step in range(5, length // 6)
        if alike[step] >= max(alike[step - 1], alike[step + 1])
    ]
    return float(max(scores, default=0.0))


def _lines(length):
    """Lines one pixel wide in four directions, as structuring elements."""
    length = max(5, length | 1)
    diagonal = np.eye(length, dtype=np.uint8)
    level = np.zeros((length, length), np.uint8)
    level[length // 2] = 1
    return level, level.T, diagonal, diagonal[::-1]
