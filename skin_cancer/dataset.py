"""HAM10000 on disk to a checked table, and its split into holdout and folds by lesion."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from skin_cancer import imaging
from skin_cancer.diagnoses import BY_HAM_CODE
from skin_cancer.errors import DatasetError, ImageError

HOLDOUT = -1
HOLDOUT_SHARE = 0.15
FOLDS = 5
SPLIT_SEED = 2018

COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset")
REQUIRED_COLUMNS = ("lesion_id", "image_id", "dx")
SHOWN = 5


def data_folder() -> Path:
    """Return the dataset folder named by the environment variable `ISIC_DATA_DIR`.

    Raises:
        DatasetError: the variable is not set.
    """
    folder = os.environ.get("ISIC_DATA_DIR")
    if not folder:
        raise DatasetError("Name the HAM10000 folder, or set ISIC_DATA_DIR to it.")
    return Path(folder)


def read_ham10000(folder) -> pd.DataFrame:
    """Read a HAM10000 folder in the official layout.

    Args:
        folder: holds `HAM10000_metadata.csv` and `HAM10000_images_part_*/ISIC_*.jpg`.

    Returns:
        One row an image, sorted by `image_id`: the official columns, `diagnosis` (ISIC code)
        and `path`.

    Raises:
        DatasetError: lists everything that is wrong with the folder and what to do.
    """
    folder = Path(folder)
    table = _read_metadata(folder)
    paths = {path.stem: path for path in folder.glob("HAM10000_images_part_*/*.jpg")}
    problems = _problems(table, paths)
    if problems:
        raise DatasetError(
            f"{folder} is not a usable HAM10000 folder:\n"
            + "\n".join(f"- {problem}" for problem in problems)
            + "\nMend the lines named, or unpack the official archive (doi:10.7910/DVN/DBW86T) "
            "anew."
        )
    table["diagnosis"] = table["dx"].map({code: d.code for code, d in BY_HAM_CODE.items()})
    table["path"] = table["image_id"].map(paths)
    return table.sort_values("image_id", ignore_index=True)


def split(table: pd.DataFrame, seed: int = SPLIT_SEED) -> pd.DataFrame:
    """Set aside 15 % of the lesions and divide the rest into five folds.

    All images of a lesion go to the same part, and every part has the same share of each
    diagnosis. The same lesions and seed give the same parts, whatever the order of the rows.

    Args:
        table: with the columns `lesion_id` and `diagnosis`.
        seed: decides which lesions go where.

    Returns:
        The table with a column `fold`: 0 to 4, or `HOLDOUT`.

    Raises:
        DatasetError: a diagnosis has too few lesions to be in every part.
    """
    lesions = table.drop_duplicates("lesion_id").set_index("lesion_id")["diagnosis"].sort_index()
    rare = lesions.value_counts().loc[lambda counts: counts < FOLDS + 2]
    if len(rare):
        raise DatasetError(
            f"Too few lesions to split: {rare.to_dict()}; each diagnosis needs {FOLDS + 2}."
        )
    rest, _ = train_test_split(
        lesions, test_size=HOLDOUT_SHARE, stratify=lesions, random_state=seed
    )
    rest = rest.sort_index()
    fold = pd.Series(HOLDOUT, index=lesions.index)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, chosen) in enumerate(folds.split(rest.index, rest)):
        fold[rest.index[chosen]] = number
    return table.assign(fold=table["lesion_id"].map(fold))


def read_image(path) -> np.ndarray:
    """Read an image of a dataset: uint8 RGB (height, width, 3).

    Raises:
        DatasetError: names the file and what is wrong with it.
    """
    try:
        return imaging.decode(Path(path).read_bytes())
    except (ImageError, OSError) as error:
        raise DatasetError(
            f"{path} cannot be used: {error} Replace it and run the same command again."
        ) from error


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


def _read_metadata(folder):
    path = folder / "HAM10000_metadata.csv"
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}. Name the HAM10000 folder.")
    if not path.is_file():
        raise DatasetError(
            f"{folder} holds no {path.name}. Name the folder that the HAM10000 archive was "
            "unpacked to."
        )
    try:
        table = pd.read_csv(path, dtype={name: "string" for name in COLUMNS if name != "age"})
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as a table: {error}") from error
    missing = [name for name in REQUIRED_COLUMNS if name not in table]
    if missing:
        raise DatasetError(f"{path} lacks the columns {', '.join(missing)}.")
    return table


def _problems(table, paths):
    checks = {
        "no line in the metadata": [] if len(table) else ["HAM10000_metadata.csv"],
        "no image file in HAM10000_images_part_*": [] if paths else ["ISIC_*.jpg"],
        "lines without lesion or image id": _ids(table, table["lesion_id"].isna()),
        "unknown diagnoses": sorted(set(table["dx"].fillna("empty")) - set(BY_HAM_CODE)),
        "image ids that stand twice": _ids(table, table["image_id"].duplicated()),
        "lesions with more than one diagnosis": _inconsistent_lesions(table),
    }
    if paths:
        checks["images named in the metadata but absent"] = _ids(
            table, ~table["image_id"].isin(paths.keys())
        )
    return [f"{what}: {_shown(found)}" for what, found in checks.items() if found]


def _ids(table, rows):
    return sorted(table.loc[rows, "image_id"].fillna("empty"))


def _inconsistent_lesions(table):
    diagnoses = table.groupby("lesion_id")["dx"].nunique()
    return list(diagnoses.index[diagnoses > 1])


def _shown(found):
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(str(item) for item in found[:SHOWN]) + more
