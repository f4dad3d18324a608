"""Datasets on disk to one checked table, one archive or several as one; its images and hashes."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from skin_cancer.data import archives, checked, own
from skin_cancer.data.reading import Reading
from skin_cancer.data.sample import sample_folder
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.errors import DatasetError, ImageError
from skin_cancer.images import decoding, squares

SAMPLE = "sample"
PLAIN_READING = Reading()


def data_folder(data: str | Path | Sequence[str | Path] = "") -> Path | list[Path]:
    """Return the folder of a dataset, or the folders of several that are to be one.

    Args:
        data: a folder; `sample` for the synthetic sample, which is written on first use; nothing
            for what the environment variable `ISIC_DATA_DIR` names; or several of these, as a
            list or with commas between.

    Raises:
        DatasetError: no folder is named, or the sample cannot be written.

    >>> data_folder("ham10000,isic2019")
    [...Path('ham10000'), ...Path('isic2019')]
    """
    if isinstance(data, str | Path) and "," in str(data) and not Path(data).exists():
        data = str(data).split(",")
    if isinstance(data, str | Path):
        return _one_folder(data)
    return [_one_folder(one) for one in data]


def _one_folder(data):
    if data == SAMPLE:
        return sample_folder()
    data = data or os.environ.get("ISIC_DATA_DIR")
    if not data:
        raise DatasetError(
            f"Name a dataset folder or {SAMPLE!r}, or set ISIC_DATA_DIR to a dataset folder."
        )
    return Path(data)


def read(
    folder: str | Path | Sequence[str | Path], reading: Reading = PLAIN_READING
) -> pd.DataFrame:
    """Read labelled images: HAM10000, ISIC 2018 Task 3, ISIC 2019, MILK10k, your own, or several.

    Args:
        folder: holds an archive as it is published, unpacked, or images as `own.read` takes them;
            or a list of such folders. An image that stands in several archives is taken from the
            first in the order above.
        reading: what a folder does not tell by itself.

    Returns:
        One row an image, sorted by `image_id`: `image_id`, `lesion_id`, `patient_id`, `diagnosis`
        (ISIC code), `alternative` (the code that it may be instead, where the archive's word means
        two), `dx_type` (how it was confirmed), `age` (years), `sex`, `localization`, `dataset` (its
        source), each of the last six and the patient missing where unknown; `archive` (its name),
        `apart` (why no network may learn it, else missing), `level` (shorter side in pixels that
        `read_image` is to bring it to, 0 for none), `path`, and `mask`, the path of the lesion's
        mask or None. Of MILK10k also `skin_tone`, 0 very dark to 5 very light, and `SCORES` of
        what is seen, 0 to 1. In ISIC 2019 some images name no lesion: each counts as one of its
        own.

    Raises:
        DatasetError: lists everything that is wrong with a folder and what to do.

    >>> table = read(data_folder("sample"))
    >>> table.loc[0, ["image_id", "lesion_id", "diagnosis", "archive"]].tolist()
    ['SYN_0000001', 'SYN_L00001', 'MEL', 'synthetic sample']
    >>> codes(table)
    ('MEL', 'NV', 'BCC', 'AKIEC', 'BKL', 'DF', 'VASC')
    >>> read_image(table.loc[0, "path"]).shape
    (450, 600, 3)
    """
    folders = [Path(one) for one in ([folder] if isinstance(folder, str | Path) else folder)]
    order = [*archives.TRAINING_LAYOUTS, None]
    found = sorted(((archives.find(one), one) for one in folders), key=lambda p: order.index(p[0]))
    tables = [
        archives.read(one, layout, reading) if layout else own.read(one, reading)
        for layout, one in found
    ]
    table = pd.concat(tables) if len(tables) > 1 else tables[0]
    _refuse_clashes(table[table["archive"] == own.OWN])
    table = table[~checked.archive_ids(table).duplicated()]
    return table.sort_values("image_id", ignore_index=True)


def _refuse_clashes(table):
    """Refuse what several folders of a user's own call alike, though it is not."""
    lesions = own.split_lesions(table)
    if lesions:
        raise DatasetError(
            "Lesions of several folders have one id and different diagnoses: "
            f"{checked.shown(lesions)}. Give lesions of different folders different ids."
        )
    again = table[table["image_id"].duplicated(keep=False)]
    for image_id, paths in again.groupby("image_id")["path"]:
        if len({path.read_bytes() for path in paths}) > 1:
            raise DatasetError(
                f"{' and '.join(map(str, paths))} are different images of one id, {image_id}. Give "
                "them different names."
            )


def read_test(folder: str | Path) -> pd.DataFrame:
    """Read the official test set of ISIC 2018 Task 3, from Dataverse or from the challenge.

    Args:
        folder: holds `ISIC2018_Task3_Test_Images/` or `ISIC2018_Task3_Test_Input/`, and
            `ISIC2018_Task3_Test_GroundTruth.csv`, which may lie in a folder of that name.

    Returns:
        As `read`. Where the lesions are not published each image counts as a lesion of its own.

    Raises:
        DatasetError: lists everything that is wrong with the folder and what to do.
    """
    folder, layout = Path(folder), archives.ISIC_2018_TEST
    if not archives.find(folder, (layout,)):
        raise DatasetError(
            f"{folder} does not hold {layout.truth}.csv. Name the folder that the official test "
            "set was unpacked to, get it by python -m skin_cancer.data.download, or measure on "
            "the images that the training set aside (part holdout)."
        )
    return archives.read(folder, layout, Reading(images_as_lesions=True))


def codes(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the codes that a network for these images tells apart: ISIC's, then one's own.

    They are those of the images that a network may learn, and what these may be instead.
    """
    learnt = table[table["apart"].isna()] if "apart" in table else table
    shown = {*learnt["diagnosis"], *learnt.get("alternative", pd.Series(dtype="string")).dropna()}
    return tuple(code for code in BY_CODE if code in shown)


def label_sets(table: pd.DataFrame, names: Sequence[str] = ()) -> np.ndarray:
    """Return 1 for each diagnosis that an image may show, else 0: float32 (images, diagnoses).

    The columns are the codes given, or those of `codes`.
    """
    columns = list(names or codes(table))
    meant = zip(table["diagnosis"], table["alternative"].fillna(""), strict=True)
    return np.array([[code in either for code in columns] for either in meant], "float32")


def title(table: pd.DataFrame) -> str:
    """Return the names of the archives that the images are from."""
    return ", ".join(sorted(set(table["archive"])))


def read_image(path: str | Path, level: int = 0) -> np.ndarray:
    """Read an image of a dataset.

    Args:
        path: of its file.
        level: shorter side in pixels that it is brought to, by `squares.level`; 0 for none.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        DatasetError: names the file and what is wrong with it.
    """
    try:
        return _read_image(path, level)
    except (ImageError, OSError) as error:
        raise DatasetError(
            f"{path} cannot be used: {error} Replace it and run the same command again."
        ) from error


def _read_image(path, level):
    image = decoding.decode(Path(path).read_bytes())
    return squares.level(image, level) if level else image


def read_images(table: pd.DataFrame) -> Iterator[np.ndarray]:
    """Yield the images of a table in its order, each as `read_image` returns it.

    Args:
        table: with the columns `path` and `level`, as `read` returns it.

    Raises:
        DatasetError: names the file and what is wrong with it.
    """
    for path, level in zip(table["path"], table["level"], strict=True):
        yield read_image(path, level)


def check_images(table: pd.DataFrame) -> None:
    """Read all images of a table, so that those that cannot be used are known before any work.

    Args:
        table: with the columns `path` and `level`, as `read` returns it.

    Raises:
        DatasetError: names each of them and what is wrong with it.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(_problem, table["path"], table["level"])
        bar = tqdm(found, total=len(table), desc="checked", unit="image")
        problems = [problem for problem in bar if problem]
    if problems:
        raise DatasetError(
            "\n".join([f"{len(problems)} of {len(table)} images cannot be used:", *problems])
            + "\nReplace them and run the same command again."
        )


def _problem(path, level):
    try:
        _read_image(path, level)
    except (ImageError, OSError) as error:
        return f"{path}: {error}"
    return None


def read_pair(row: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Read an image and its lesion's mask.

    Args:
        row: with `path`, `level` and `mask`, as a row of `read`'s table.

    Returns:
        uint8 RGB (height, width, 3), and bool (height, width), true inside the lesion, or None
        where no mask is known.

    Raises:
        DatasetError: names the file and what is wrong with it.
    """
    image = read_image(row.path, row.level)
    if row.mask is None:
        return image, None
    mask = read_image(row.mask)[..., 0]
    return image, cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_AREA) > 127


def read_probabilities(path: str | Path) -> pd.DataFrame:
    """Read a table of probabilities under the balanced prior: one row an image_id, column a code.

    Raises:
        OSError: there is no such file.
        ValueError: it is no such table.
    """
    return pd.read_csv(path, index_col="image_id").astype("float64")


def fingerprint(table: pd.DataFrame) -> str:
    """Return the SHA-256 over all labels and image files of a table, in hexadecimal."""
    digest = hashlib.sha256(label_fingerprint(table).encode())
    for path in table.sort_values("image_id")["path"]:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def label_fingerprint(table: pd.DataFrame) -> str:
    """Return the SHA-256 over image ids, lesion ids and diagnoses of a table, in hexadecimal."""
    rows = table.sort_values("image_id")[["image_id", "lesion_id", "diagnosis"]]
    return hashlib.sha256(rows.to_csv(index=False, lineterminator="\n").encode()).hexdigest()
