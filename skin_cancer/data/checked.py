"""What all layouts share: the image files below a folder, and rows to a checked table."""

import os
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd

from skin_cancer.data.levelling import levelled
from skin_cancer.data.sample import ID_PREFIX, MASKS
from skin_cancer.errors import DatasetError
from skin_cancer.images import kinds
from skin_cancer.images.inputs import PASSED_OVER

SAMPLE_TITLE = "synthetic sample"
NONE_OF_OURS, EXAMPLE = "none of our diagnoses", "example"
LABELS = ("diagnosis", "alternative", "apart")
DETAILS = ("dx_type", "age", "sex", "localization", "dataset")
# Of the ISIC Archive, shown on the page and in tests: honest only if no network has learnt them.
EXAMPLES = {
    f"ISIC_{number:07d}"
    for number in (
        *(9874, 9939, 10009, 10317, 11083, 11348, 11382, 12143),
        *(12272, 12678, 12758, 13232, 13271, 14392, 14501, 14603),
        *(14639, 14644, 14811, 14832, 14945, 15152, 15166, 15251),
    )
}
IMAGE_ENDING = (
    "(?i)(" + "|".join(re.escape(e) for each in kinds.ENDINGS.values() for e in each) + ")$"
)
ABSENT, UNNAMED = (
    "images named in the table but absent",
    "image files that no line of the table names",
)
SHOWN = 10


def image_files(folder: Path, others: Iterable[str] = ()) -> dict[str, Path]:
    """Return all image files below a folder by their names without the ending.

    Hidden files and folders are passed over, masks, and what systems add.

    Args:
        folder: where to look.
        others: patterns of the names of further folders to pass over.

    Raises:
        DatasetError: one id has two files of different content.
    """
    found: dict[str, Path] = {}
    unread = (MASKS, ".*", *PASSED_OVER)
    for path in sorted(filter(is_image, folder.rglob("*"))):
        inside = path.relative_to(folder).parts[:-1]
        if any(fnmatch(part, other) for part in inside for other in (*unread, *others)):
            continue
        if not path.is_file():
            continue
        other = found.setdefault(path.stem, path)
        if other != path and other.read_bytes() != path.read_bytes():
            raise DatasetError(
                f"{other} and {path} are different images of one id. Keep the right one alone, or "
                "give them different names."
            )
    return found


def is_image(path: Path) -> bool:
    """Say whether a file's name is that of an image, and not hidden."""
    return bool(re.search(IMAGE_ENDING, path.name)) and not path.name.startswith(".")


def without_ending(names: pd.Series) -> pd.Series:
    """Return images' names without folders before them and the ending behind."""
    names = names.str.replace(r"^.*[/\\]", "", regex=True)
    return names.str.replace(IMAGE_ENDING, "", regex=True)


def labels(
    words: pd.Series,
    taxonomy: Mapping[str, tuple[str, ...]],
    key: Callable[[str], str] = str.lower,
) -> dict[str, pd.Series]:
    """Return the columns that say what each image shows: `diagnosis`, `alternative`, `apart`.

    Args:
        words: the diagnosis of each image in an archive's own words.
        taxonomy: such a word to the codes that it may mean.
        key: by which words are compared.
    """
    columns = {
        "diagnosis": {word: (meant or (word,))[0] for word, meant in taxonomy.items()},
        "alternative": {word: meant[1] for word, meant in taxonomy.items() if meant[1:]},
        "apart": {word: NONE_OF_OURS for word, meant in taxonomy.items() if not meant},
    }
    keys = words.astype("string").map(key, na_action="ignore")
    return {
        name: keys.map({key(word): value for word, value in values.items()}).astype("string")
        for name, values in columns.items()
    }


def missing(table: pd.DataFrame, files: Collection[str]) -> dict[str, list[str]]:
    """Return the ids of the images that only the table or only the folder has."""
    ids = set(table["image_id"].dropna())
    return {ABSENT: sorted(ids - set(files)), UNNAMED: sorted(set(files) - ids)}


def without_missing(
    table: pd.DataFrame, files: dict[str, Path], share: float
) -> tuple[pd.DataFrame, dict[str, Path]]:
    """Leave out images that only the table or only the folder has, where they are few enough.

    Args:
        table: of the images, with `image_id`.
        files: the images' files by their ids.
        share: of the table's rows that each kind may be at most, 0 to 1.
    """
    found = {what: ids for what, ids in missing(table, files).items() if ids}
    if not found or max(map(len, found.values())) > share * len(table):
        return table, files
    for what, ids in found.items():
        warnings.warn(f"Left out, {what}: {shown(ids)}", stacklevel=2)
    there = table["image_id"].isin(files)
    named = set(table["image_id"][there])
    return table[there], {name: path for name, path in files.items() if name in named}


def refuse(folder: Path, problems: Mapping[str, list[str]]) -> None:
    """Refuse a folder in which something is wrong.

    Args:
        folder: of the dataset.
        problems: what is wrong to where it is.

    Raises:
        DatasetError: lists everything.
    """
    closed = [path for path in folder.iterdir() if path.is_dir() and not os.access(path, os.R_OK)]
    problems = {
        "files or folders that may not be read": [str(path.relative_to(folder)) for path in closed],
        **problems,
    }
    lines = [f"- {what}: {shown(found)}" for what, found in problems.items() if found]
    if lines:
        raise DatasetError(
            "\n".join([f"{folder} is not a usable dataset:", *lines])
            + "\nMend what is named, or get a published dataset anew by "
            "python -m skin_cancer.data.download."
        )


def shown(found: list[str]) -> str:
    """Return the first of some items, and how many there are."""
    first = ", ".join(map(str, found[:SHOWN]))
    return first if len(found) <= SHOWN else f"{first} and {len(found) - SHOWN} more"


def finished(
    folder: Path, table: pd.DataFrame, paths: Mapping[str, Path], title: str
) -> pd.DataFrame:
    """Return a table of checked rows as `dataset.read` describes it.

    Args:
        folder: of the dataset.
        table: its images, with the columns of `labels`.
        paths: the images' files by their ids.
        title: the archive's name.
    """
    drawn = table["image_id"].str.startswith(ID_PREFIX).all()
    unknown = {"unknown": pd.NA}
    masks = {
        path.stem.removesuffix("_segmentation"): path
        for path in (folder / MASKS).glob("*_segmentation.png")
    }
    absent = {name: pd.NA for name in DETAILS if name not in table}
    table = table.drop(columns="dx").assign(**absent)
    table = table.assign(
        age=pd.to_numeric(table["age"], errors="coerce").astype(float),
        sex=table["sex"].replace(unknown),
        localization=table["localization"].replace(unknown),
        archive=SAMPLE_TITLE if drawn else title,
        apart=table["apart"].mask(archive_ids(table).isin(EXAMPLES), EXAMPLE),
        level=0,
        path=table["image_id"].map(paths),
        mask=[masks.get(image_id) for image_id in table["image_id"]],
    )
    return levelled(table).sort_values("image_id", ignore_index=True)


def archive_ids(table: pd.DataFrame) -> pd.Series:
    """Return the images' ids in the ISIC Archive; some of ISIC 2019 say more than that."""
    return table["image_id"].str.removesuffix("_downsampled")
