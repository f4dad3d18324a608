"""Labelled images as people keep them: a table of the images, or a folder a diagnosis."""

import difflib
import hashlib
import warnings
from collections import defaultdict
from pathlib import Path

import pandas as pd

from skin_cancer.data import archives, checked, tables
from skin_cancer.data.reading import NAMED, Reading
from skin_cancer.diagnoses import TAXONOMY, plain
from skin_cancer.errors import DatasetError

OWN, ISIC_ARCHIVE, PAD_UFES = "own images", "ISIC Archive", "PAD-UFES-20"
# What our columns may be called in a table, the first that is there counts.
SYNONYMS = {
    "image_id": ("image_id", "isic_id", "image_name", "img_id", "image", "file_name", "filename"),
    "dx": ("diagnosis", "dx", "diagnostic", "label", "class"),
    "lesion_id": ("lesion_id", "lesion"),
    "patient_id": ("patient_id", "patient"),
    "dx_type": ("dx_type", "diagnosis_confirm_type"),
    "age": ("age", "age_approx"),
    "sex": ("sex", "gender"),
    "localization": ("localization", "anatom_site_general", "region", "site"),
    "image_type": ("image_type",),
}
LEVELS = [f"diagnosis_{level}" for level in (5, 4, 3, 2, 1)]  # of the ISIC Archive, finest first
NOT_DERMATOSCOPIC = "not dermatoscopic"
PHOTOGRAPHS = (
    "PAD-UFES-20 holds photographs by smartphone. The models here are made for dermatoscopic "
    "images: what they say of photographs is not to be relied on."
)
NO_LESIONS = (
    "tells neither lesions nor patients, so that images of one lesion could be trained on and "
    "measured on at once. Add a table with columns image_id and lesion_id (or patient_id), or say "
    "that each image is to count as a lesion of its own (--lesions=images)."
)


def read(folder: Path, reading: Reading) -> pd.DataFrame:
    """Read labelled images that lie as no published archive does.

    A table that names the images tells their diagnoses, lesions and patients. Where it tells no
    diagnosis, or there is none, the folder of each image does: the nearest one above it whose name
    is that of a diagnosis.

    Returns:
        As `dataset.read`, with `patient_id`.

    Raises:
        DatasetError: lists everything that is wrong with the folder and what to do.
    """
    files = checked.image_files(folder)
    table, place = _read_table(folder, files, reading)
    title = _title(table)
    if title == PAD_UFES:
        warnings.warn(PHOTOGRAPHS, stacklevel=2)
    table, files = checked.without_missing(_renamed(table, reading), files, reading.missing)
    words = TAXONOMY[title] | dict(reading.diagnoses)
    if "dx" not in table:
        table["dx"] = _of_folders(table["image_id"], files, folder, words)
        _check_folders(folder, table["dx"], words)
    table = table.assign(**checked.labels(table["dx"], words, plain))
    problems = _problems(table, files, words, place)
    checked.refuse(folder, problems)
    table = _grouped(table, folder, reading)
    checked.refuse(folder, {"lesions with more than one diagnosis": split_lesions(table)})
    return checked.finished(folder, table, files, title)


def _read_table(folder, files, reading):
    """Return the table of the images and what to call it; without one, the images alone."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in tables.ENDINGS and not path.name.startswith((".", "~")):
            table = tables.read(path)
            if _column(table, "image_id", reading):
                found[path] = table
    told = {path: table for path, table in found.items() if _tells_diagnoses(table, reading)}
    chosen = told or found
    if len(chosen) > 1:
        names = ", ".join(path.name for path in chosen)
        raise DatasetError(f"{folder} holds several tables of images: {names}. Keep one there.")
    if reading.columns and not chosen:
        raise DatasetError(
            f"{folder} holds no table with the column {reading.columns.get('image', 'image_id')!r}."
        )
    for path, table in chosen.items():
        return table, path.name
    return pd.DataFrame({"image_id": sorted(files)}, dtype="string"), "the folder"


def _column(table, ours, reading):
    """Return what a column of ours is called in a table, or None."""
    named = {NAMED[name]: column for name, column in reading.columns.items()}
    names = {name.lower(): name for name in table}
    wanted = [named[ours].lower()] if ours in named else SYNONYMS[ours]
    return next((names[name] for name in wanted if name in names), None)


def _tells_diagnoses(table, reading):
    return bool(_column(table, "dx", reading)) or set(LEVELS) <= set(table)


def _title(table):
    names = {name.lower() for name in table}
    if {"img_id", "diagnostic"} <= names:
        return PAD_UFES
    exported = "isic_id" in names or {"image_name", "benign_malignant"} <= names
    return ISIC_ARCHIVE if exported else OWN


def _renamed(table, reading):
    """Return a table with our columns alone."""
    columns = {ours: _column(table, ours, reading) for ours in SYNONYMS}
    for asked in reading.columns:
        if not columns[NAMED[asked]]:
            raise DatasetError(
                f"The table has no column {reading.columns[asked]!r}; it has {', '.join(table)}."
            )
    renamed = pd.DataFrame({ours: table[theirs] for ours, theirs in columns.items() if theirs})
    if set(LEVELS) & set(table) and "diagnosis" not in reading.columns:
        renamed["dx"] = _finest(table.reindex(columns=LEVELS))
    return renamed.assign(image_id=checked.without_ending(renamed["image_id"]))


def _finest(levels):
    """Return of each row the finest diagnosis that is known, or the finest that is there."""
    known = {plain(word) for word in TAXONOMY[ISIC_ARCHIVE]}

    def best(row):
        words = list(row.dropna())
        return next((word for word in words if plain(word) in known), next(iter(words), pd.NA))

    return levels.apply(best, axis=1).astype("string")


def _of_folders(ids, files, folder, words):
    """Return for each image the name of the nearest folder above it that names a diagnosis."""
    known = {plain(word) for word in words}

    def name(image_id):
        if image_id not in files:
            return None
        above = files[image_id].relative_to(folder).parts[-2::-1]
        return next((part for part in above if plain(part) in known), next(iter(above), None))

    return ids.map(name, na_action="ignore").astype("string")


def _check_folders(folder, found, words):
    known = {plain(word) for word in words}
    published = ", ".join(f"{layout.truth}.csv" for layout in archives.TRAINING_LAYOUTS)
    if not any(plain(word) in known for word in found.dropna()):
        raise DatasetError(
            f"{folder} holds none of {published}, no table of images "
            "with their diagnoses, and no images in folders named after diagnoses (melanoma, nevus "
            "...). Name the folder that a dataset was unpacked to, or get one by python -m "
            "skin_cancer.data.download."
        )


def _grouped(table, folder, reading):
    """Return a table in which each image has a lesion, and no two patients share one."""
    unknown = pd.Series(pd.NA, table.index, "string")
    ids = {name: table.get(name, unknown) for name in ("lesion_id", "patient_id")}
    told = any(column.notna().any() for column in ids.values())
    if not told and not reading.images_as_lesions:
        raise DatasetError(f"{folder} {NO_LESIONS}")
    table = table.assign(**ids)
    if (table.groupby("lesion_id")["patient_id"].nunique() > 1).any():
        table["lesion_id"] = table["patient_id"].str.cat(table["lesion_id"], "/")
    return table.assign(lesion_id=table["lesion_id"].fillna(table["image_id"]))


def _problems(table, files, words, place):
    """Return what is wrong, each with what to look at."""
    if "image_type" in table:
        away = table["image_type"].fillna("dermoscopic") != "dermoscopic"
        table["apart"] = table["apart"].mask(away, NOT_DERMATOSCOPIC)
    return {
        f"rows of {place} without an image id": _lines(table, table["image_id"].isna()),
        f"image ids that stand twice in {place}": _lines(table, table["image_id"].duplicated()),
        "unknown diagnoses": _unknown(table, words),
        **checked.missing(table, files),
        "images under two diagnoses": _under_two(table, files),
    }


def _lines(table, rows):
    return [f"line {line}: {table.at[line, 'image_id']}" for line in table.index[rows]]


def _unknown(table, words):
    """Return each unknown name with the nearest one that is known and where it first stands."""
    names = {plain(word): word for word in words}
    found = []
    for word, rows in table[table["diagnosis"].isna()].fillna({"dx": "no diagnosis"}).groupby("dx"):
        near = difflib.get_close_matches(plain(word), names, 1)
        meant = f"; did you mean {names[near[0]]!r}?" if near else ""
        found.append(f"{word!r} ({len(rows)}, first of {rows['image_id'].iloc[0]}{meant})")
    return found


def _under_two(table, files):
    """Return the images whose very file stands under several diagnoses."""
    sizes = defaultdict(list)
    known = table.dropna(subset=["image_id", "diagnosis"])
    for image_id, diagnosis in zip(known["image_id"], known["diagnosis"], strict=True):
        if image_id in files:
            sizes[files[image_id].stat().st_size].append((files[image_id], diagnosis))
    found = []
    for alike in (each for each in sizes.values() if len({d for _, d in each}) > 1):
        contents = defaultdict(list)
        for path, diagnosis in alike:
            contents[hashlib.sha256(path.read_bytes()).digest()].append((path.name, diagnosis))
        same = (each for each in contents.values() if len({d for _, d in each}) > 1)
        found += [" = ".join(f"{name} ({d})" for name, d in each) for each in same]
    return found


def split_lesions(table: pd.DataFrame) -> list[str]:
    """Return the lesions of a table that have several diagnoses, with these."""
    shown = table[table["apart"].isna()].groupby("lesion_id")["diagnosis"].unique()
    return [f"{lesion} ({', '.join(codes)})" for lesion, codes in shown.items() if len(codes) > 1]
