"""Lesions that stand in several archives, or several times in one, under other lesion ids.

Found by local features and a geometric check: RootSIFT descriptors of every image (Lowe 2004,
"Distinctive Image Features from Scale-Invariant Keypoints"; Arandjelović & Zisserman 2012, "Three
things everyone should know to improve object retrieval", section 3), their nearest neighbours in
images of other lesions, votes for pairs of images, and a similarity by RANSAC between the two.
"""

import argparse
import hashlib
import itertools
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from skin_cancer.data import dataset
from skin_cancer.data.splits import LINK_INLIERS
from skin_cancer.errors import DatasetError, ImageError, SkinCancerError
from skin_cancer.images import decoding

FEATURE = np.dtype([("place", "f4", 2), ("size", "f4"), ("angle", "f4"), ("descriptor", "u1", 128)])
VERSION = "1"  # of the features; another number has them computed anew
SIDE = 224  # of the shorter side of an image whose features are computed, in pixels
FEATURES = 250  # of an image at most
CONTRAST = 0.01  # a quarter of OpenCV's: skin is faint
DARK, MARGIN = 40, 10  # grey value of what lies outside the lens; pixels that its edge reaches
WORD = 1500  # descriptors in a word of the visual vocabulary, about
NEIGHBOURS = 2  # words of a descriptor, and neighbours of it in each
VOTES = 3  # of a pair of images that is compared
OTHER = "invented"  # archive of the further images of a lesion, where they are disguised
COLUMNS = {
    "image": "image_id",
    "archive": "archive",
    "lesion": "lesion_id",
    "diagnosis": "diagnosis",
}
BLOCK = 2048  # descriptors compared at once
TOLERANCE = 5  # pixels between where a feature is and where the similarity puts it
TURN = 30  # degrees between the angles of two matched features, after the similarity
ZOOM = 1.6  # factor between their sizes, after the similarity
MAX_SCALE = 4  # between two photographs of a lesion
MIN_BREADTH, MIN_SHARE = 3, 0.1  # pixels, and of the length: hairs and rulers are lines


def find(table: pd.DataFrame, found: list[np.ndarray]) -> pd.DataFrame:
    """Find the pairs of images that show one lesion under two lesion ids.

    Args:
        table: images of one or more archives, as `dataset.read` returns them: `image_id`,
            `lesion_id`, `diagnosis` and `archive`. Images with the same id are one.
        found: the `features` of each image.

    Returns:
        One row a pair, most inliers first: `image_a`, `image_b`, `archive_a`, `archive_b`,
        `lesion_a`, `lesion_b`, `diagnosis_a`, `diagnosis_b`, `inliers` (`LINK_INLIERS` or more, as
        `inliers` counts them) and `agree`, whether the diagnoses do.
    """
    first = ~table["image_id"].duplicated()
    table, found = table[first], list(itertools.compress(found, first))
    lesions = pd.factorize(table["lesion_id"])[0]
    return _verified(table, found, _candidates(found, lesions))


def read_features(table: pd.DataFrame, folder: str | Path) -> list[np.ndarray]:
    """Return the `features` of each image of a table; those in the folder are not computed again.

    Raises:
        DatasetError: an image cannot be read, or the folder not be written.
    """
    return _parallel(lambda path: _cached(path, Path(folder)), table["path"], "features", "image")


def features(image: np.ndarray) -> np.ndarray:
    """Return the strongest local features of an image, at most `FEATURES`.

    The image is brought to a shorter side of `SIDE` pixels first, so that a small one (ISIC 2019
    has many of 84 pixels) has features too. What lies at the dark edge of the lens has none.

    Args:
        image: uint8 RGB (height, width, 3).

    Returns:
        Of dtype `FEATURE`: place (x, y) and size in pixels of the resized image, angle in degrees,
        and descriptor, RootSIFT times 512.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    zoom = SIDE / min(grey.shape)
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    grey = cv2.resize(grey, None, fx=zoom, fy=zoom, interpolation=method)
    sift = cv2.SIFT.create(2 * FEATURES, contrastThreshold=CONTRAST)
    points, descriptors = sift.detectAndCompute(grey, _inside_lens(grey))
    strongest = np.argsort([-point.response for point in points], kind="stable")[:FEATURES]
    found = np.zeros(len(strongest), FEATURE)
    for feature, number in zip(found, strongest, strict=True):
        point, descriptor = points[number], descriptors[number]
        feature["place"], feature["size"], feature["angle"] = point.pt, point.size, point.angle
        root = np.sqrt(descriptor / max(descriptor.sum(), 1))
        feature["descriptor"] = np.minimum(np.round(512 * root), 255)
    return found


def matches(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the places where two images agree after a turn, a zoom and a shift.

    Features that are each other's nearest are matched, a similarity is fitted by RANSAC, and a
    match counts if places, sizes and angles all follow it. Matches along a line count for nothing,
    for hairs, rulers and scale marks are alike in unrelated images.

    Args:
        one: `features` of an image.
        other: `features` of another.

    Returns:
        For each image, float32 (n, 2): x and y of the n matches in pixels of the resized image.
        None match where there is no such similarity.
    """
    nothing = np.empty((0, 2), np.float32), np.empty((0, 2), np.float32)
    if min(len(one), len(other)) == 0:
        return nothing
    one, other = _mutual(one, other)
    if len(one) < 3:
        return nothing
    matrix, fits = cv2.estimateAffinePartial2D(
        one["place"].copy(), other["place"].copy(), ransacReprojThreshold=TOLERANCE
    )
    scale = 0 if matrix is None else np.hypot(*matrix[:, 0])
    if not 1 / MAX_SCALE < scale < MAX_SCALE:
        return nothing
    turn = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
    turned = (other["angle"] - one["angle"] - turn + 180) % 360 - 180
    zoomed = np.log(other["size"] / one["size"] / scale)
    fits = (fits.ravel() > 0) & (abs(turned) < TURN) & (abs(zoomed) < np.log(ZOOM))
    places = one["place"][fits], other["place"][fits]
    if fits.sum() < 3 or any(map(_on_a_line, places)):
        return nothing
    return places


def inliers(one: np.ndarray, other: np.ndarray) -> int:
    """Count the different places among the `matches` of two images' `features`."""
    return min(len(np.unique(place.round(), axis=0)) for place in matches(one, other))


def recall(table: pd.DataFrame, found: list[np.ndarray], limit: int = 2000) -> pd.Series:
    """Return the share of known pairs that `inliers` finds, by archive: nan where there is none.

    Args:
        table: images with `lesion_id` and `archive`.
        found: the `features` of each image.
        limit: of the pairs of images of one lesion that are tried in each archive.
    """
    rng = np.random.default_rng(0)
    shares = {}
    for name, rows in table.reset_index(drop=True).groupby("archive"):
        lesions = rows.groupby("lesion_id").indices.values()
        pairs = [pair for lesion in lesions for pair in itertools.combinations(lesion, 2)]
        chosen = rng.permutation(np.array(pairs, int).reshape(-1, 2))[:limit]
        places = rows.index.to_numpy()[chosen]
        counts = _compare(found, places, f"known pairs of {name}")
        shares[name] = np.mean(counts >= LINK_INLIERS) if len(counts) else np.nan
    return pd.Series(shares, name="recall")


def summary(pairs: pd.DataFrame) -> pd.DataFrame:
    """Count the pairs, the lesions in them and the agreement of diagnoses by pair of archives."""
    return pairs.groupby(["archive_a", "archive_b"]).agg(
        pairs=("agree", "size"),
        lesions_a=("lesion_a", "nunique"),
        lesions_b=("lesion_b", "nunique"),
        agree=("agree", "mean"),
    )


def disguised(table: pd.DataFrame, lesions: int, seed: int = 0) -> pd.DataFrame:
    """Return images of known lesions as two archives hold them that know nothing of each other.

    The first image of a lesion stays as it is. Each further one gets the archive `OTHER` and its
    image id for a lesion id, so that `find` has pairs to find whose lesions are known.

    Args:
        table: as `dataset.read` returns it.
        lesions: how many to take at most, with all their images.
        seed: decides which.

    Returns:
        Rows of the table; the column `lesion` holds the lesion ids that they had.
    """
    ids = table["lesion_id"].drop_duplicates()
    chosen = ids.sample(min(lesions, len(ids)), random_state=seed)
    table = table[table["lesion_id"].isin(chosen)]
    first = ~table["lesion_id"].duplicated()
    return table.assign(
        lesion=table["lesion_id"],
        lesion_id=table["lesion_id"].where(first, table["image_id"]),
        archive=table["archive"].where(first, OTHER),
    )


def found_again(pairs: pd.DataFrame, table: pd.DataFrame) -> pd.Series:
    """Compare what `find` found among `disguised` images with what is known of them.

    Args:
        pairs: as `find` returns them.
        table: as `disguised` returned it.

    Returns:
        How many pairs are `known`, how many of these are `found`, and how many of those that were
        found are `false`, of different lesions.
    """
    sizes = table["lesion"].value_counts()
    lesion = table.set_index("image_id")["lesion"]
    right = (pairs["image_a"].map(lesion) == pairs["image_b"].map(lesion)).sum()
    known = (sizes * (sizes - 1) // 2).sum()
    return pd.Series({"known": known, "found": right, "false": len(pairs) - right}, name="pairs")


def side_by_side(
    pairs: pd.DataFrame, table: pd.DataFrame, found: list[np.ndarray], count: int = 6
) -> dict[str, list]:
    """Read pairs of images to look at, from the most inliers to the fewest.

    Args:
        pairs: as `find` returns them, one or more.
        table: the images they were found in.
        found: the `features` of each image of the table.
        count: of pairs at most; they are taken evenly from all.

    Returns:
        Arguments of `figures.gallery`, two entries a pair: `images`, uint8 RGB (height, width, 3);
        `titles`; and `points`, float (n, 2), the `matches` in pixels of the image.

    Raises:
        DatasetError: an image cannot be read.
    """
    chosen = np.unique(np.linspace(0, len(pairs) - 1, count).astype(int))
    place = {image_id: number for number, image_id in enumerate(table["image_id"])}
    shown: dict[str, list] = {"images": [], "titles": [], "points": []}
    for pair in pairs.iloc[chosen].itertuples():
        rows = [place[pair.image_a], place[pair.image_b]]
        images = [dataset.read_image(table["path"].iloc[row]) for row in rows]
        points = matches(*(found[row] for row in rows))
        shown["images"] += images
        shown["titles"] += [
            f"{pair.archive_a}: {pair.diagnosis_a}",
            f"{pair.archive_b}: {pair.diagnosis_b}; {pair.inliers} inliers",
        ]
        shown["points"] += [
            points * (min(image.shape[:2]) / SIDE)
            for image, points in zip(images, points, strict=True)
        ]
    return shown


def _parallel(work, items, what, unit):
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(tqdm(pool.map(work, items), total=len(items), desc=what, unit=unit))


def _compare(found, pairs, what):
    """Return the `inliers` of each pair of images: int (n,)."""
    counts = _parallel(lambda pair: inliers(found[pair[0]], found[pair[1]]), pairs, what, "pair")
    return np.array(counts, int)


def _cached(path, folder):
    """Return an image's features, from the folder if they were computed for its content."""
    try:
        content = Path(path).read_bytes()
        kept = folder / f"{VERSION}-{hashlib.sha256(content).hexdigest()}.npy"
        if kept.exists():
            return np.load(kept)
        found = features(decoding.decode(content))
    except (ImageError, OSError) as error:
        raise DatasetError(f"{path} cannot be used: {error} Replace it and run again.") from error
    _keep(found, kept)
    return found


def _keep(found, path):
    """Write features aside and rename them, so that a stop leaves no half of a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as aside:
            np.save(aside, found)
        Path(aside.name).replace(path)
    except OSError as error:
        raise DatasetError(f"{path.parent} cannot be written: {error} Name another.") from error


def _inside_lens(grey):
    """Say where no dark area that touches the border is near: uint8 (height, width), 0 or 1."""
    framed = cv2.copyMakeBorder((grey < DARK).astype(np.uint8), 1, 1, 1, 1, 0, value=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    outside = (framed[1:-1, 1:-1] == 2).astype(np.uint8)
    return 1 - cv2.dilate(outside, np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8))


def _mutual(one, other):
    """Return those features of two images that are each other's nearest."""
    likeness = _unit(one["descriptor"]) @ _unit(other["descriptor"]).T
    nearest = likeness.argmax(axis=1)
    rows = np.flatnonzero(likeness.argmax(axis=0)[nearest] == np.arange(len(one)))
    return one[rows], other[nearest[rows]]


def _on_a_line(places):
    """Say whether half of the places lie in a strip too narrow for a lesion."""
    centred = places - np.median(places, axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    length, breadth = np.median(abs(centred @ axes.T), axis=0)
    return breadth < max(MIN_BREADTH, MIN_SHARE * length)


def _unit(descriptors):
    descriptors = descriptors.astype(np.float32)
    return descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True).clip(1)


def _candidates(found, lesions):
    """Return the pairs of images of two lesions that share `VOTES` near features: rows (a, b)."""
    images = np.repeat(np.arange(len(found)), [len(each) for each in found])
    descriptors = np.concatenate([each["descriptor"] for each in found])
    matches = _neighbours(descriptors, lesions[images])
    one, other = np.divmod(np.unique(matches), len(images))  # found from both sides, it is one
    pairs, votes = np.unique(images[one] * len(found) + images[other], return_counts=True)
    return np.stack(np.divmod(pairs[votes >= VOTES], len(found)), axis=1)


def _neighbours(descriptors, lesions):
    """Return the near descriptors of other lesions: numbers a * len(descriptors) + b, a < b.

    Compared are those that share a word of a visual vocabulary (Sivic & Zisserman 2003, "Video
    Google: A Text Retrieval Approach to Object Matching in Videos", section 4).
    """

    def near(members):
        vectors = _unit(descriptors[members])
        blocks = range(0, len(members), BLOCK)
        return np.concatenate([near_block(members, vectors, start) for start in blocks])

    def near_block(members, vectors, start):
        rows = members[start : start + BLOCK]
        likeness = vectors[start : start + BLOCK] @ vectors.T
        likeness[lesions[rows, None] == lesions[members]] = -1
        nearest = members[_largest(likeness)]
        rows = np.repeat(rows, NEIGHBOURS).reshape(nearest.shape)
        numbers = np.minimum(rows, nearest) * len(lesions) + np.maximum(rows, nearest)
        return numbers[lesions[rows] != lesions[nearest]]

    words = _words(descriptors).ravel()
    order = np.argsort(words, kind="stable")
    lists = np.split(order // NEIGHBOURS, np.flatnonzero(np.diff(words[order])) + 1)
    return np.concatenate(_parallel(near, lists, "neighbours", "word"))


def _words(descriptors):
    """Return the `NEIGHBOURS` nearest words of each descriptor, the nearest first."""
    count = max(1, len(descriptors) // WORD)
    chosen = np.random.default_rng(0).permutation(len(descriptors))[: 30 * count]
    clusters = MiniBatchKMeans(
        count, init="random", n_init=1, batch_size=16384, max_iter=3, random_state=0
    ).fit(_unit(descriptors[chosen]))
    words = _unit(512 * clusters.cluster_centers_).T

    def nearest(start):
        return _largest(_unit(descriptors[start : start + BLOCK]) @ words)

    starts = range(0, len(descriptors), BLOCK)
    return np.concatenate(_parallel(nearest, starts, "words", "block"))


def _largest(likeness):
    """Return the columns of the `NEIGHBOURS` largest values of each row; overwrites those values.

    Passes of argmax are a hundred times faster than argpartition.
    """
    rows = np.arange(len(likeness))
    columns = np.empty((len(likeness), NEIGHBOURS), np.int64)
    for number in range(NEIGHBOURS):
        columns[:, number] = likeness.argmax(axis=1)
        likeness[rows, columns[:, number]] = -1
    return columns


def _verified(table, found, pairs):
    """Return the table of those pairs that have enough inliers."""
    counts = _compare(found, pairs, "pairs")
    result = {}
    for side, rows in zip("ab", pairs.T, strict=True):
        for ours, column in COLUMNS.items():
            result[f"{ours}_{side}"] = table[column].to_numpy()[rows]
    result = pd.DataFrame(result).assign(inliers=counts)
    result["agree"] = result["diagnosis_a"] == result["diagnosis_b"]
    result = result[result["inliers"] >= LINK_INLIERS]
    names = [f"{ours}_{side}" for ours in COLUMNS for side in "ab"]
    return result.sort_values(
        ["inliers", "image_a", "image_b"], ascending=[False, True, True], ignore_index=True
    )[[*names, "inliers", "agree"]]


def main() -> None:
    """Find overlaps from the shell."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.data.overlap", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--data", required=True, help="folders of datasets, parted by commas")
    parser.add_argument("--output", required=True, type=Path, help="gets pairs.csv and features/")
    given = parser.parse_args()
    try:
        table = dataset.read(dataset.data_folder(given.data))
        found = read_features(table, given.output / "features")
        pairs = find(table, found)
        pairs.to_csv(given.output / "pairs.csv", index=False)
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit("Stopped; the same command computes no feature twice.") from None
    print(summary(pairs).to_string() if len(pairs) else "No lesion stands twice.")
    print("\nKnown pairs, images of one lesion id, that the geometric check finds:")
    print(recall(table, found).to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
