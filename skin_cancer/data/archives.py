"""The layouts of the published archives, and one of them to a checked table."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from skin_cancer.data import checked, tables
from skin_cancer.data.levelling import BCN
from skin_cancer.data.reading import Reading
from skin_cancer.diagnoses import TAXONOMY
from skin_cancer.errors import DatasetError

TABLE_ENDINGS = (".csv", ".tab", ".tsv", ".txt", "")
CHALLENGES = "https://isic-challenge-data.s3.amazonaws.com"


@dataclass(frozen=True)
class Layout:
    """Where a published dataset keeps what.

    Attributes:
        name: of the dataset.
        truth: name of the table of diagnoses, without its ending; it may lie in a folder of the
            same name.
        images: pattern of the image files.
        lesions: name of the table that tells which image shows which lesion, where it is another
            one, or None.
        details: name of a further table of the images, or None.
        home: where the table of lesions is to be had.
        columns: what our columns are called there.
        source: of all its images, where no column tells it, or None.
        sources: the source of an image by the first three letters of its lesion's id, where those
            tell it; by none for images that name no lesion among others that do.
        names_all_lesions: whether each image names its lesion; else one that names none counts as
            a lesion of its own.
        one_diagnosis_a_lesion: whether all images of a lesion have the same diagnosis.
    """

    name: str
    truth: str
    images: str
    lesions: str | None = None
    details: str | None = None
    home: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    source: str | None = None
    sources: dict[str, str] = field(default_factory=dict)
    names_all_lesions: bool = False
    one_diagnosis_a_lesion: bool = True


HAM10000 = Layout(
    "HAM10000", "HAM10000_metadata", "HAM10000_images_part_*/*.jpg", names_all_lesions=True
)
ISIC_2018_TRAINING = Layout(
    "ISIC 2018",
    "ISIC2018_Task3_Training_GroundTruth",
    "ISIC2018_Task3_Training_Input/*.jpg",
    "ISIC2018_Task3_Training_LesionGroupings",
    home=f"{CHALLENGES}/2018/ISIC2018_Task3_Training_LesionGroupings.csv",
    columns={"image": "image_id", "diagnosis_confirm_type": "dx_type"},
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
    home=f"{CHALLENGES}/2019/ISIC_2019_Training_Metadata.csv",
    columns={
        "image": "image_id",
        "age_approx": "age",
        "anatom_site_general": "localization",
    },
    sources={"BCN": BCN, "HAM": "HAM10000", "MSK": "MSK", "": "MSK"},
    one_diagnosis_a_lesion=False,
)
MONET = {
    "MONET_ulceration_crust": "ulceration",
    "MONET_hair": "hair",
    "MONET_vasculature_vessels": "vessels",
    "MONET_erythema": "erythema",
    "MONET_pigmented": "pigment",
    "MONET_gel_water_drop_fluid_dermoscopy_liquid": "gel",
    "MONET_skin_markings_pen_ink_purple_pen": "ink",
}
MILK10K = Layout(
    "MILK10k",
    "MILK10k_Training_GroundTruth",
    "MILK10k_Training_Input/**/*.jpg",
    "MILK10k_Training_Metadata",
    "MILK10k_Training_Supplement",
    "https://challenge.isic-archive.com/landing/milk10k",
    {
        "isic_id": "image_id",
        "age_approx": "age",
        "site": "localization",
        "skin_tone_class": "skin_tone",
        "diagnosis_confirm_type": "dx_type",
        **MONET,
    },
    source="MILK10k",
)
TRAINING_LAYOUTS = (HAM10000, ISIC_2018_TRAINING, ISIC_2019_TRAINING, MILK10K)
SCORES = ("skin_tone", *MONET.values())


def find(folder: Path, layouts: Sequence[Layout] = TRAINING_LAYOUTS) -> Layout | None:
    """Return the first of some layouts whose table of diagnoses a folder holds, or None.

    Raises:
        DatasetError: there is no such folder, or it may not be read.

    >>> from skin_cancer.data.sample import sample_folder
    >>> find(sample_folder()).name
    'HAM10000'
    """
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}. Name a dataset folder.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DatasetError(f"{folder} may not be read. Change its permissions or name another one.")
    return next((layout for layout in layouts if _find_table(folder, layout.truth)), None)


def read(folder: Path, layout: Layout, reading: Reading) -> pd.DataFrame:
    """Read one archive as `dataset.read` describes it.

    Args:
        folder: as `find` returns it.
        layout: of that folder.
        reading: as for `dataset.read`.

    Raises:
        DatasetError: lists everything that is wrong with the folder and what to do.
    """
    table, close_ups = _joined(folder, layout, reading.images_as_lesions)
    taxonomy = TAXONOMY[layout.name]
    words = table["dx"] if "dx" in table else _marked(table, list(taxonomy))
    table = table.assign(**checked.labels(words, taxonomy))
    scores = [name for name in SCORES if name in table]
    kept = ["image_id", "lesion_id", "dx", *checked.LABELS, *checked.DETAILS, *scores]
    table = table.reindex(columns=kept)
    table[scores] = table[scores].apply(pd.to_numeric, errors="coerce")
    if layout.source or layout.sources:
        table["dataset"] = layout.source or _sources(table["lesion_id"], layout.sources)
    if not layout.names_all_lesions:
        table["lesion_id"] = table["lesion_id"].astype("string").fillna(table["image_id"])
    paths = _image_files(folder, layout, set(table["image_id"].dropna()))
    paths = {stem: path for stem, path in paths.items() if stem not in close_ups}
    table, paths = checked.without_missing(table, paths, reading.missing)
    _check(folder, layout, table, paths)
    return checked.finished(folder, table, paths, layout.name)


def _find_table(folder, name):
    wanted = [f"{name}{end}".lower() for end in TABLE_ENDINGS]
    for parent in (folder, folder / name):
        files = parent.iterdir() if parent.is_dir() else ()
        found = {path.name.lower(): path for path in files if path.name.lower() in wanted}
        for path in (found[each] for each in wanted if each in found):
            if path.is_file():
                return path
    return None


def _joined(folder, layout, images_as_lesions):
    """Return what all tables tell of the images, and the ids of those that are close-ups."""
    path = _find_table(folder, layout.truth)
    table = _read_table(path, layout)
    lesions, close_ups = _read_lesions(folder, layout, images_as_lesions), set()
    if "image_type" in lesions:
        magnified = lesions["image_type"] == "dermoscopic"
        lesions, close_ups = lesions[magnified], set(lesions["image_id"][~magnified])
    for others in (lesions, _read_others(folder, layout, layout.details)):
        table = _merged(table, others)
    if "image_id" not in table or not {"dx", "MEL"} & set(table):
        raise DatasetError(f"{path} names no images or no diagnoses: has it the right columns?")
    return table, close_ups


def _read_lesions(folder, layout, images_as_lesions):
    """Read which image shows which lesion, where a table of its own tells that."""
    missing = layout.lesions and not _find_table(folder, layout.lesions)
    if missing and not images_as_lesions:
        raise DatasetError(
            f"{folder} lacks {layout.lesions}.csv, which tells the images of one lesion: without "
            "it a lesion would be trained on and measured on at once. Get it from "
            f"{layout.home}, or say that each image is to count as a lesion of its own "
            "(--lesions=images)."
        )
    return _read_others(folder, layout, layout.lesions)


def _read_others(folder, layout, name):
    """Read a further table of the images, one without a row where there is none."""
    path = name and _find_table(folder, name)
    return _read_table(path, layout) if path else pd.DataFrame({"image_id": []}, dtype="string")


def _merged(table, others):
    """Add what another table tells of each image, or which images there are of each lesion."""
    key = "image_id" if "image_id" in table else "lesion_id"
    if key not in table or key not in others:
        return table
    new = [key, *others.columns.difference(table.columns)]
    return table.merge(others[new].drop_duplicates("image_id"), "left", on=key)


def _read_table(path, layout):
    table = tables.read(path).rename(columns=layout.columns)
    if "image_id" in table:
        table["image_id"] = checked.without_ending(table["image_id"])
    return table


def _image_files(folder, layout, ids):
    """Return each image's file by its name without the ending.

    They lie as published; where some do not, all image files below the folder are taken, but for
    those of other layouts.

    Raises:
        DatasetError: one id has two files of different content.
    """
    paths = {path.stem: path for path in folder.glob(layout.images) if checked.is_image(path)}
    if ids <= paths.keys():
        return paths
    return checked.image_files(folder, [ISIC_2018_TEST.images.split("/")[0]])


def _sources(lesions, sources):
    """Return where images are from, by their lesions' ids; missing if none has one."""
    begin = lesions.astype("string").str[:3]
    return (begin.fillna("") if begin.notna().any() else begin).map(sources)


def _marked(table, words):
    """Return the one column that is marked in each row, missing where none or several are."""
    marks = table.reindex(columns=words).apply(pd.to_numeric, errors="coerce").fillna(0)
    return marks.idxmax(axis=1).where((marks.max(axis=1) == 1) & (marks.sum(axis=1) == 1))


def _check(folder, layout, table, paths):
    closed = [path for path in paths.values() if not os.access(path, os.R_OK)]
    checks = {
        "files that may not be read": [str(path.relative_to(folder)) for path in closed],
        "no line in the table": [] if len(table) else [layout.truth],
        f"no image file, as {layout.images}": [] if paths else [str(folder)],
        "lines without lesion or image id": _ids(
            table, table["lesion_id"].isna() | table["image_id"].isna()
        ),
        "images without a known diagnosis": _unknown(table),
        "image ids that stand twice": _ids(table, table["image_id"].duplicated()),
    }
    if layout.one_diagnosis_a_lesion:
        checks["lesions with more than one diagnosis"] = _inconsistent_lesions(table)
    if paths:
        checks |= checked.missing(table, paths)
    checked.refuse(folder, checks)


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
