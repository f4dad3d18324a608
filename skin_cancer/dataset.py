"""Datasets on disk to one checked table, and its split into holdout and folds by lesion.

Read as they are published: HAM10000, ISIC 2018 Task 3 (training and test), ISIC 2019 and MILK10k,
one of them or several as one.
"""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedKFold, train_test_split

from skin_cancer import imaging
from skin_cancer.diagnoses import ISIC_2018, ISIC_2019, TAXONOMY
from skin_cancer.errors import DatasetError, ImageError
from skin_cancer.sample import ID_PREFIX, MASKS, sample_folder

HOLDOUT = -1  # never trained on by a network that is to be measured
APART = -2  # never trained on by any
LINKED = -3  # of the same lesion as one in the holdout
HOLDOUT_SHARE = 0.15
HOLDOUT_SHARES = {"MILK10k": 0.30}  # where they differ from that
LINK_INLIERS = 10
FOLDS = 5
SPLIT_SEED = 2018

SAMPLE = "sample"
SAMPLE_TITLE = "synthetic sample"
LABELS = ("diagnosis", "alternative", "apart")
DETAILS = ("dx_type", "age", "sex", "localization", "dataset")
ENDINGS = (".csv", ".tab", "")
SHOWN = 5

NONE_OF_OURS, EXAMPLE, CONTROL = "none of our diagnoses", "example", "control of sharpness"
# Of the ISIC Archive, shown on the page and in tests: honest only if no network has learnt them.
EXAMPLES = {
    f"ISIC_{number:07d}"
    for number in (
        *(9874, 9939, 10009, 10317, 11083, 11348, 11382, 12143),
        *(12272, 12678, 12758, 13232, 13271, 14392, 14501, 14603),
        *(14639, 14644, 14811, 14832, 14945, 15152, 15166, 15251),
    )
}
BCN = "BCN_20000"
SOURCES = {"BCN": BCN, "HAM": "HAM10000", "MSK": "MSK"}  # of ISIC 2019, by how a lesion id begins
WITHOUT_LESION = "MSK"  # whose images name none
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
    """

    name: str
    truth: str
    images: str
    lesions: str | None = None
    details: str | None = None
    home: str = ""
    columns: dict[str, str] = field(default_factory=dict)


HAM10000 = Layout("HAM10000", "HAM10000_metadata", "HAM10000_images_part_*/*.jpg")
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
    "MILK10k_Training_Input/*/*.jpg",
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
)
TRAINING_LAYOUTS = (HAM10000, ISIC_2018_TRAINING, ISIC_2019_TRAINING, MILK10K)
SCORES = ("skin_tone", *MONET.values())


def data_folder(data="") -> Path | list[Path]:
    """Return the folder of a dataset, or the folders of several that are to be one.

    Args:
        data: a folder; `sample` for the synthetic sample, which is written on first use; nothing
            for what the environment variable `ISIC_DATA_DIR` names; or several of these, as a
            list or with commas between.

    Raises:
        DatasetError: no folder is named, or the sample cannot be written.
    """
    if isinstance(data, str | Path) and "," in str(data) and not Path(data).exists():
        data = str(data).split(",")
    if isinstance(data, list | tuple):
        return [data_folder(one) for one in data]
    if data == SAMPLE:
        return sample_folder()
    data = data or os.environ.get("ISIC_DATA_DIR")
    if not data:
        raise DatasetError(
            f"Name a dataset folder or {SAMPLE!r}, or set ISIC_DATA_DIR to a dataset folder."
        )
    return Path(data)


def read(folder, images_as_lesions: bool = False) -> pd.DataFrame:
    """Read the training images of HAM10000, ISIC 2018 Task 3, ISIC 2019, MILK10k or several.

    Args:
        folder: holds an archive as it is published, unpacked; or a list of such folders. An image
            that stands in several archives is taken from the first in the order above.
        images_as_lesions: take each image as a lesion of its own where the table is missing that
            tells the lesions. Images of one lesion are then on both sides of any split.

    Returns:
        One row an image, sorted by `image_id`: `image_id`, `lesion_id`, `diagnosis` (ISIC code),
        `alternative` (the code that it may be instead, where the archive's word means two),
        `dx_type` (how it was confirmed), `age` (years), `sex`, `localization`, `dataset` (its
        source), each of the last six missing where unknown; `archive` (its name), `apart` (why no
        network may learn it, else missing), `level` (shorter side in pixels that `read_image` is
        to bring it to, 0 for none), `path`, and `mask`, the path of the lesion's mask or None. Of
        MILK10k also `skin_tone`, 0 very dark to 5 very light, and `SCORES` of what is seen,
        0 to 1. In ISIC 2019 some images name no lesion: each counts as one of its own.

    Raises:
        DatasetError: lists everything that is wrong with a folder and what to do.
    """
    folders = folder if isinstance(folder, list | tuple) else [folder]
    found = [_find_archive(_readable(one)) for one in folders]
    found.sort(key=lambda pair: TRAINING_LAYOUTS.index(pair[1]))
    tables = [_read_layout(one, layout, images_as_lesions) for one, layout in found]
    table = pd.concat(tables) if len(tables) > 1 else tables[0]
    table = table[~_archive_ids(table).duplicated()]
    return table.sort_values("image_id", ignore_index=True)


def _find_archive(folder):
    for layout in TRAINING_LAYOUTS:
        if _find_table(folder, layout.truth):
            return folder, layout
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
    return _read_layout(folder, ISIC_2018_TEST, images_as_lesions=True)


def codes(table: pd.DataFrame) -> tuple[str, ...]:
    """Return the ISIC codes a network for these images tells apart: seven, or eight with SCC."""
    known = ISIC_2019 if "SCC" in set(table["diagnosis"]) else ISIC_2018
    return tuple(diagnosis.code for diagnosis in known)


def title(table: pd.DataFrame) -> str:
    """Return the names of the archives that the images are from."""
    return ", ".join(sorted(set(table["archive"])))


def split(table: pd.DataFrame, seed: int = SPLIT_SEED, links=()) -> pd.DataFrame:
    """Set aside a part of the lesions of each archive and divide the rest into five folds.

    It is 15 %, of MILK10k 30 %. All images of a lesion go to the same part, and in each archive
    every part has the same share of each diagnosis. The same lesions and seed give the same parts,
    whatever the order of the rows and whatever other archives are there.

    Args:
        table: with the columns `image_id`, `lesion_id`, `archive`, `diagnosis` and `apart`.
        seed: decides which lesions go where.
        links: pairs of lesion ids that are one lesion: all linked ones go to the same fold, and
            none of them is in a fold if one is in the holdout or is never to be learnt.

    Returns:
        The table with the columns `fold`, 0 to 4, `HOLDOUT`, `LINKED` or `APART`, and `group`, a
        lesion id that all linked lesions have in common.

    Raises:
        DatasetError: a diagnosis has too few lesions to be in every part.
    """
    lesions = (
        table.sort_values("image_id").drop_duplicates("lesion_id").set_index("lesion_id")
    ).sort_index()
    apart = lesions.index.isin(table["lesion_id"][table["apart"].notna()])
    fold = pd.Series(APART, index=lesions.index)
    for archive, part in lesions[~apart].groupby("archive"):
        share = HOLDOUT_SHARES.get(archive, HOLDOUT_SHARE)
        fold[part.index] = _draw(part["diagnosis"], share, seed)
    group = _groups(lesions.sort_values("archive", kind="stable").index, links)
    fold = _joined(fold[group.index], group)
    lesion = table["lesion_id"]
    return table.assign(fold=lesion.map(fold).astype(int), group=lesion.map(group))


def _draw(lesions, share, seed):
    """Return holdout or fold of each lesion, from their diagnoses."""
    rare = lesions.value_counts().loc[lambda counts: counts < FOLDS + 2]
    if len(rare):
        raise DatasetError(
            f"Too few lesions to split: {rare.to_dict()}; each diagnosis needs {FOLDS + 2}."
        )
    rest, _ = train_test_split(lesions, test_size=share, stratify=lesions, random_state=seed)
    rest = rest.sort_index()
    fold = pd.Series(HOLDOUT, index=lesions.index)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, chosen) in enumerate(folds.split(rest.index, rest)):
        fold[rest.index[chosen]] = number
    return fold


def _groups(lesions, links):
    """Return for each lesion the first of those that are one with it, by whatever links."""
    place = pd.Series(range(len(lesions)), lesions)
    ends = pd.DataFrame(list(links), columns=["one", "other"]).apply(lambda ids: ids.map(place))
    ends = ends.dropna().astype(int)
    graph = coo_array((np.ones(len(ends)), (ends["one"], ends["other"])), shape=2 * [len(place)])
    number = connected_components(graph, directed=False)[1]
    return pd.Series(lesions, lesions).groupby(number).transform("first")


def _joined(fold, group):
    """Return the folds after those of lesions that are one have become one, the first's."""
    linked = group.duplicated(keep=False)
    parts = [_common(folds) for _, folds in fold[linked].groupby(group[linked])]
    return pd.concat([fold[~linked], *parts])


def _common(folds):
    """Return the folds that lesions go to which are one; what is in the holdout stays there."""
    held = folds == HOLDOUT
    if (folds == APART).any():
        return folds.where(held, APART)
    return folds.where(held, LINKED if held.any() else folds.iloc[0])


def read_links(path, table: pd.DataFrame) -> list[tuple[str, str]]:
    """Read which lesions of a table are one.

    Args:
        path: table of `image_a`, `image_b` and `inliers`, how many local features of the two
            images agree: from `LINK_INLIERS` on they show one lesion.
        table: as `read` returns it; pairs with images that it lacks are left out.

    Returns:
        Pairs of lesion ids, sorted.

    Raises:
        DatasetError: there is no such table.
    """
    try:
        pairs = pd.read_csv(path).query("inliers >= @LINK_INLIERS")[["image_a", "image_b"]]
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(
            f"{path} is no table of image_a, image_b and inliers: {error}"
        ) from error
    lesions = table.set_index("image_id")["lesion_id"]
    found = pairs.apply(lambda images: images.map(lesions)).dropna()
    return sorted(found[found["image_a"] != found["image_b"]].itertuples(index=False, name=None))


def read_image(path, level: int = 0) -> np.ndarray:
    """Read an image of a dataset.

    Args:
        path: of its file.
        level: shorter side in pixels that it is brought to, by `imaging.level`; 0 for none.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        DatasetError: names the file and what is wrong with it.
    """
    try:
        image = imaging.decode(Path(path).read_bytes())
        return imaging.level(image, level) if level else image
    except (ImageError, OSError) as error:
        raise DatasetError(
            f"{path} cannot be used: {error} Replace it and run the same command again."
        ) from error


def read_images(table: pd.DataFrame):
    """Yield the images of a table in its order, each as `read_image` returns it.

    Args:
        table: with the columns `path` and `level`, as `read` returns it.

    Raises:
        DatasetError: names the file and what is wrong with it.
    """
    for path, level in zip(table["path"], table["level"], strict=True):
        yield read_image(path, level)


def read_pair(row) -> tuple[np.ndarray, np.ndarray | None]:
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


def _read_layout(folder, layout, images_as_lesions):
    path = _find_table(folder, layout.truth)
    table = _read_table(path, layout)
    lesions = _read_lesions(folder, layout, images_as_lesions)
    close_ups = set()
    if "image_type" in lesions:
        magnified = lesions["image_type"] == "dermoscopic"
        lesions, close_ups = lesions[magnified], set(lesions["image_id"][~magnified])
    for others in (lesions, _read_others(folder, layout, layout.details)):
        table = _merged(table, others)
    if "image_id" not in table or not {"dx", "MEL"} & set(table):
        raise DatasetError(f"{path} names no images or no diagnoses: has it the right columns?")
    table = table.assign(**_labels(table, TAXONOMY[layout.name]))
    scores = [name for name in SCORES if name in table]
    table = table.reindex(columns=["image_id", "lesion_id", "dx", *LABELS, *DETAILS, *scores])
    table[scores] = table[scores].apply(pd.to_numeric, errors="coerce")
    if layout is ISIC_2019_TRAINING:
        table["dataset"] = _sources(table["lesion_id"].astype("string"))
    if layout is MILK10K:
        table["dataset"] = layout.name
    if layout is not HAM10000:
        table["lesion_id"] = table["lesion_id"].astype("string").fillna(table["image_id"])
    files = [path for path in folder.glob(layout.images) if not path.name.startswith(".")]
    paths = {path.stem: path for path in files if path.stem not in close_ups}
    _check(folder, layout, table, paths)
    return _finished(folder, table, paths, layout)


def _sources(lesions):
    """Return where the images of ISIC 2019 are from, by their lesions' ids; some name none."""
    unnamed = lesions.isna() & lesions.notna().any()
    return lesions.str[:3].map(SOURCES).mask(unnamed, WITHOUT_LESION)


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
    """Read a table whose columns are parted by commas or, as Dataverse gives them, by tabs."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            separator = "\t" if "\t" in file.readline() else ","
        table = pd.read_csv(path, sep=separator, dtype="string", encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as a table: {error}") from error
    return table.rename(columns=layout.columns)


def _labels(table, taxonomy):
    """Return the columns that say what each image shows, from the archive's words for it."""
    word = table["dx"] if "dx" in table else _marked(table, list(taxonomy))
    columns = {
        "diagnosis": {word: (meant or (word,))[0] for word, meant in taxonomy.items()},
        "alternative": {word: meant[1] for word, meant in taxonomy.items() if meant[1:]},
        "apart": {word: NONE_OF_OURS for word, meant in taxonomy.items() if not meant},
    }
    return {name: word.map(values).astype("string") for name, values in columns.items()}


def _marked(table, words):
    """Return the one column that is marked in each row, missing where none or several are."""
    marks = table.reindex(columns=words).apply(pd.to_numeric, errors="coerce").fillna(0)
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
        archive=SAMPLE_TITLE if drawn else layout.name,
        apart=table["apart"].mask(_archive_ids(table).isin(EXAMPLES), EXAMPLE),
        level=0,
        path=table["image_id"].map(paths),
        mask=[masks.get(image_id) for image_id in table["image_id"]],
    )
    return _levelled(table).sort_values("image_id", ignore_index=True)


def _levelled(table):
    """Hide by which size an image of BCN_20000 came here, where melanomas came in another.

    All are to be brought to the smaller size. Images of the other's size are kept apart: what a
    network says of them shows whether it has learnt the size or the lesion.
    """
    rows = table[table["dataset"] == BCN]
    melanoma = rows["diagnosis"] == "MEL"
    sides = rows["path"].map(_shorter_side)
    usual = sides.groupby(melanoma).median()
    if usual.nunique() < 2:
        return table
    level = int(usual.min())
    control = (sides > level) != (melanoma.map(usual) > level)
    table.loc[rows.index, "level"] = level
    table.loc[rows.index[control], "apart"] = CONTROL
    return table


def _shorter_side(path):
    try:
        return min(imaging.read_size(path))
    except ImageError as error:
        raise DatasetError(f"{path} cannot be used: {error} Replace it.") from error


def _archive_ids(table):
    """Return the images' ids in the ISIC Archive; some of ISIC 2019 say more than that."""
    return table["image_id"].str.removesuffix("_downsampled")


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
