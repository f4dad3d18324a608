"""Datasets on disk to one checked table, and its split into holdout and folds by lesion.

Read as they are published: HAM10000, ISIC 2018 Task 3 (training and test) and ISIC 2019.
"""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from skin_cancer import imaging
from skin_cancer.diagnoses import BY_HAM_CODE, ISIC_2018, ISIC_2019
from skin_cancer.errors import DatasetError, ImageError
from skin_cancer.sample import ID_PREFIX, MASKS, sample_folder

HOLDOUT = -1
HOLDOUT_SHARE = 0.15
FOLDS = 5
SPLIT_SEED = 2018

SAMPLE = "sample"
SAMPLE_TITLE = "synthetic sample"
DETAILS = ("dx_type", "age", "sex", "localization", "dataset")
ENDINGS = (".csv", ".tab", "")
SHOWN = 5


@dataclass(frozen=True)
class Layout:
    """Where a published dataset keeps what.

    Attributes:
        name: of the dataset.
        truth: name of the table of diagnoses, without its ending; it may lie in a folder of the
            same name.
        images: pattern of the image files.
        details: name of a further table of the images, or None.
        columns: what our columns are called there.
    """

    name: str
    truth: str
    images: str
    details: str | None = None
    columns: dict[str, str] = field(default_factory=dict)


HAM10000 = Layout("HAM10000", "HAM10000_metadata", "HAM10000_images_part_*/*.jpg")
ISIC_2018_TRAINING = Layout(
    "ISIC 2018",
    "ISIC2018_Task3_Training_GroundTruth",
    "ISIC2018_Task3_Training_Input/*.jpg",
    "ISIC2018_Task3_Training_LesionGroupings",
    {"image": "image_id", "diagnosis_confirm_type": "dx_type"},
)
ISIC_2018_TEST = Layout(
    "ISIC 2018",
    "ISIC2018_Task3_Test_GroundTruth",
    "ISIC2018_Task3_Test_I*/*.jpg",
    columns={"image": "image_id"},
)
ISIC_2019_TRAINING = Layout(
    "ISIC 2019",
    "ISIC_2019_Training_GroundTruth",
    "ISIC_2019_Training_Input/*.jpg",
    "ISIC_2019_Training_Metadata",
    {
        "image": "image_id",
        "AK": "AKIEC",
        "age_approx": "age",
        "anatom_site_general": "localization",
    },
)
TRAINING_LAYOUTS = (HAM10000, ISIC_2018_TRAINING, ISIC_2019_TRAINING)


def data_folder(data="") -> Path:
    """Return the folder of a dataset.

    Args:
        data: a folder; `sample` for the synthetic sample, which is written on first use; or
            nothing for the folder that the environment variable `ISIC_DATA_DIR` names.

    Raises:
        DatasetError: no folder is named, or the sample cannot be written.
    """
    if data == SAMPLE:
        return sample_folder()
    data = data or os.environ.get("ISIC_DATA_DIR")
    if not data:
        raise DatasetError(
            f"Name a dataset folder or {SAMPLE!r}, or set ISIC_DATA_DIR to a dataset folder."
        )
    return Path(data)


def read(folder) -> pd.DataFrame:
    """Read the training images of HAM10000, ISIC 2018 Task 3 or ISIC 2019.

    Args:
        folder: holds the archives as they are published, unpacked.

    Returns:
        One row an image, sorted by `image_id`: `image_id`, `lesion_id`, `diagnosis` (ISIC code),
        `dx_type` (how it was confirmed), `age` (years), `sex`, `localization`, `dataset` (its
        source), each of the last five missing where unknown; `collection` (the dataset's name),
        `path`, and `mask`, the path of the lesion's mask or None. In ISIC 2019 some images name no
        lesion: each counts as one of its own. What is called AK there is AKIEC here, though
        HAM10000 counts intraepithelial carcinoma in it as well.

    Raises:
        DatasetError: lists everything that is wrong with the folder and what to do.
    """
    folder = _readable(folder)
    for layout in TRAINING_LAYOUTS:
        if _find_table(folder, layout.truth):
            return _read_layout(folder, layout)
    names = ", ".join(f"{layout.truth}.csv" for layout in TRAINING_LAYOUTS)
    raise DatasetError(
        f"{folder} holds none of {names}. Name the folder that a dataset was unpacked to, or get "
        "one by python -m skin_cancer.download."
    )


def read_test(folder) -> pd.DataFrame:
    """Read the official test set of ISIC 2018 Task 3, from Dataverse or from the challenge.

    Args:
        folder: holds `ISIC2018_Task3_Test_Images/` or `ISIC2018_Task3_Test_Input/`, and
            `ISIC2018_Task3_Test_GroundTruth.csv`, which may lie in a folder of that name.

    Returns:
        As `read`. Where the lesions are not published each image counts as a lesion of its own.

    Raises:
        DatasetError: lists everything that is wrong with the folder and what to do.
    """
    folder = _readable(folder)
    if not _find_table(folder, ISIC_2018_TEST.truth):
        raise DatasetError(
            f"{folder} holds no {ISIC_2018_TEST.truth}.csv. Name the folder that the test set of "
            "ISIC 2018 Task 3 was unpacked to, or get it by python -m skin_cancer.download."
        )
    return _read_layout(folder, ISIC_2018_TEST)


def codes(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the ISIC codes a network for these images tells apart: seven, or eight with SCC."""
    known = ISIC_2019 if "SCC" in set(table["diagnosis"]) else ISIC_2018
    return tuple(diagnosis.code for diagnosis in known)


def title(table: pd.DataFrame) -> str:
    """Return the name of the dataset that the images are from."""
    return table["collection"].iloc[0]


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
    lesions = (
        table.sort_values("image_id")
        .drop_duplicates("lesion_id")
        .set_index("lesion_id")["diagnosis"]
        .sort_index()
    )
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
    return table.assign(fold=table["lesion_id"].map(fold).astype(int))


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


def read_pair(row) -> tuple[np.ndarray, np.ndarray | None]:
    """Read an image and its lesion's mask.

    Args:
        row: with `path` and `mask`, as a row of `read`'s table.

    Returns:
        uint8 RGB (height, width, 3), and bool (height, width), true inside the lesion, or None
        where no mask is known.

    Raises:
        DatasetError: names the file and what is wrong with it.
    """
    image = read_image(row.path)
    if row.mask is None:
        return image, None
    mask = read_image(row.mask)[..., 0]
    return image, cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_AREA) > 127


def read_probabilities(path) -> pd.DataFrame:
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


def _readable(folder):
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}. Name a dataset folder.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DatasetError(f"{folder} may not be read. Change its permissions or name another one.")
    return folder


def _find_table(folder, name):
    paths = [parent / f"{name}{end}" for parent in (folder, folder / name) for end in ENDINGS]
    return next((path for path in paths if path.is_file()), None)


def _read_layout(folder, layout):
    path = _find_table(folder, layout.truth)
    table = _read_table(path, layout)
    if "image_id" not in table or not {"dx", "MEL"} & set(table):
        raise DatasetError(f"{path} names no images or no diagnoses: has it the right columns?")
    details = layout.details and _find_table(folder, layout.details)
    if details:
        others = _read_table(details, layout)
        new = ["image_id", *others.columns.difference(table.columns)]
        table = table.merge(others[new].drop_duplicates("image_id"), "left", on="image_id")
    table["diagnosis"] = _diagnoses(table)
    table = table.reindex(columns=["image_id", "lesion_id", "dx", "diagnosis", *DETAILS])
    if layout is not HAM10000:
        table["lesion_id"] = table["lesion_id"].astype("string").fillna(table["image_id"])
    files = [path for path in folder.glob(layout.images) if not path.name.startswith(".")]
    paths = {path.stem: path for path in files}
    _check(folder, layout, table, paths)
    return _finished(folder, table, paths, layout)


def _read_table(path, layout):
    """Read a table whose columns are parted by commas or, as Dataverse gives them, by tabs."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            separator = "\t" if "\t" in file.readline() else ","
        table = pd.read_csv(path, sep=separator, dtype="string", encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as a table: {error}") from error
    return table.rename(columns=layout.columns)


def _diagnoses(table):
    """Return ISIC codes from HAM10000's `dx` or from one column a diagnosis, else missing."""
    if "dx" in table:
        return table["dx"].map({code: d.code for code, d in BY_HAM_CODE.items()})
    marks = table.reindex(columns=[d.code for d in ISIC_2019]).apply(pd.to_numeric, errors="coerce")
    marks = marks.fillna(0)
    return marks.idxmax(axis=1).where((marks.max(axis=1) == 1) & (marks.sum(axis=1) == 1))


def _check(folder, layout, table, paths):
    folders = [path for path in folder.iterdir() if path.is_dir()]
    closed = [path for path in (*folders, *paths.values()) if not os.access(path, os.R_OK)]
    checks = {
        "files or folders that may not be read": [str(path.relative_to(folder)) for path in closed],
        "no line in the table": [] if len(table) else [layout.truth],
        f"no image file {layout.images}": [] if paths else ["*.jpg"],
        "lines without lesion or image id": _ids(
            table, table["lesion_id"].isna() | table["image_id"].isna()
        ),
        "images without a known diagnosis": _unknown(table),
        "image ids that stand twice": _ids(table, table["image_id"].duplicated()),
    }
    if layout is not ISIC_2019_TRAINING:  # whose publishers do not promise it
        checks["lesions with more than one diagnosis"] = _inconsistent_lesions(table)
    if paths:
        absent = ~table["image_id"].isin(paths.keys())
        checks["images named in the table but absent"] = _ids(table, absent)
        checks["image files that no line of the table names"] = sorted(
            paths.keys() - set(table["image_id"])
        )
    problems = [f"{what}: {_shown(found)}" for what, found in checks.items() if found]
    if problems:
        raise DatasetError(
            f"{folder} is not a usable dataset:\n"
            + "\n".join(f"- {problem}" for problem in problems)
            + "\nMend the lines named, or get the data anew by python -m skin_cancer.download."
        )


def _finished(folder, table, paths, layout):
    drawn = table["image_id"].str.startswith(ID_PREFIX).all()
    known = {"unknown": pd.NA}
    files = (folder / MASKS).glob("*_segmentation.png")
    masks = {path.stem.removesuffix("_segmentation"): path for path in files}
    table = table.drop(columns="dx").assign(
        age=pd.to_numeric(table["age"], errors="coerce").astype(float),
        sex=table["sex"].replace(known),
        localization=table["localization"].replace(known),
        collection=SAMPLE_TITLE if drawn else layout.name,
        path=table["image_id"].map(paths),
        mask=[masks.get(image_id) for image_id in table["image_id"]],
    )
    return table.sort_values("image_id", ignore_index=True)


def _unknown(table):
    rows = table["diagnosis"].isna()
    if table["dx"].isna().all():
        return _ids(table, rows)
    return sorted(set(table.loc[rows, "dx"].fillna("empty")))


def _ids(table, rows):
    return sorted(table.loc[rows, "image_id"].fillna("empty"))


def _inconsistent_lesions(table):
    diagnoses = table.groupby("lesion_id")["diagnosis"].nunique(dropna=False)
    return list(diagnoses.index[diagnoses > 1])


def _shown(found):
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(str(item) for item in found[:SHOWN]) + more
