"""Pictures that a lesion classifier has no business answering, to measure whether it knows."""

import cv2
import numpy as np
import pandas as pd
import skimage.data
from matplotlib import cbook
from PIL import Image
from sklearn.datasets import load_sample_images

from skin_cancer.data import checked, dataset
from skin_cancer.images import lesion

HEIGHT, WIDTH = 450, 600
SIDE = 224
PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "cat",
    "cell",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "retina",
    "rocket",
)
LETTERS = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,      ")


def pictures(table: pd.DataFrame, count: int, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Gather pictures that are not dermatoscopic pictures of a lesion.

    Args:
        table: images of a dataset, whose colours are inverted and beside whose lesions bare skin
            is cut out.
        count: of the pictures of each kind; of bare skin there may be fewer.
        seed: decides which.

    Returns:
        Kind to uint8 RGB arrays (height, width, 3). Photographs are crops of those that
        scikit-image, scikit-learn and matplotlib ship; the synthetic sample is in it unless the
        table is its own.

    Raises:
        DatasetError: an image of the table cannot be read.
    """
    rng = np.random.default_rng(seed)
    chosen = table.sample(min(count, len(table)), random_state=seed)
    real = list(dataset.read_images(chosen))
    skin = [patch for image in real for patch in lesion.bare_skin(image)]
    found = {
        "photographs": _crops(rng, _photographs(), count),
        "bare skin": [
            cv2.resize(skin[i], (SIDE, SIDE)) for i in rng.permutation(len(skin))[:count]
        ],
        "text pages": _crops(rng, [_page(rng) for _ in range(8)] + [skimage.data.page()], count),
        "drawings": [_drawing(rng) for _ in range(count)],
        "noise": [_noise(rng, i) for i in range(count)],
        "inverted colours": [255 - image for image in real],
    }
    if dataset.title(table) != checked.SAMPLE_TITLE:
        drawn = dataset.read(dataset.data_folder("sample"))
        drawn = drawn.sample(min(count, len(drawn)), random_state=seed)
        found["synthetic sample"] = list(dataset.read_images(drawn))
    return {kind: images for kind, images in found.items() if images}


def _photographs():
    """Whole photographs: uint8 RGB or grey."""
    portrait = np.asarray(Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)))
    return [
        *(getattr(skimage.data, name)() for name in PHOTOGRAPHS),
        *load_sample_images().images,
        portrait,
    ]


def _crops(rng, images, count):
    """Cut squares of 30 to 100 % of the shorter side out of pictures, in turn."""
    found = []
    for i in range(count):
        image = images[i % len(images)]
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        side = int(min(image.shape[:2]) * rng.uniform(0.3, 1))
        top, left = (rng.integers(0, length - side + 1) for length in image.shape[:2])
        found.append(np.ascontiguousarray(image[top : top + side, left : left + side, :3]))
    return found


def _page(rng):
    page = np.full((HEIGHT, WIDTH, 3), rng.integers(200, 256), np.uint8)
    ink = rng.integers(0, 90, 3).tolist()
    font, scale = int(rng.integers(0, 4)), rng.uniform(0.4, 1.2)
    for y in np.arange(20, HEIGHT, 32 * scale).astype(int).tolist():
        words = "".join(rng.choice(LETTERS, 80))
        cv2.putText(page, words, (10, y), font, scale, ink, 1, cv2.LINE_AA)
    return page


def _drawing(rng):
    """Draw a few plain circles, boxes and lines on plain ground."""
    paper = np.full((HEIGHT, WIDTH, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(rng.integers(2, 9)):
        colour = rng.integers(0, 256, 3).tolist()
        (x, y), (u, v) = rng.integers(0, HEIGHT, (2, 2)).tolist()
        width = int(rng.choice([-1, 2, 5]))
        shape = rng.integers(3)
        if shape == 0:
            cv2.circle(paper, (x, y), int(rng.integers(20, 150)), colour, width)
        elif shape == 1:
            cv2.rectangle(paper, (x, y), (u, v), colour, width)
        else:
            cv2.line(paper, (x, y), (u, v), colour, 3)
    return paper


def _noise(rng, i):
    """Fine, grey or coarse noise, or none at all, in turn."""
    size = (HEIGHT, WIDTH, 3)
    if i % 4 == 0:
        return rng.integers(0, 256, size).astype(np.uint8)
    if i % 4 == 1:
        return rng.normal(128, rng.uniform(10, 60), size).clip(0, 255).astype(np.uint8)
    if i % 4 == 2:
        return np.full(size, rng.integers(0, 256, 3), np.uint8)
    coarse = rng.integers(0, 256, (*rng.integers(5, 60, 2), 3)).astype(np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
