"""Lesions to holdout and folds: all images of a lesion on one side, in each archive by itself."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedKFold, train_test_split

from skin_cancer.errors import DatasetError

HOLDOUT = -1  # never trained on by a network that is to be measured
APART = -2  # never trained on by any
LINKED = -3  # of the same lesion as one in the holdout
HOLDOUT_SHARE = 0.15
HOLDOUT_SHARES = {"MILK10k": 0.30}  # where they differ from that
LINK_INLIERS = 10
FOLDS = 5
SPLIT_SEED = 2018


def split(
    table: pd.DataFrame, seed: int = SPLIT_SEED, links: Iterable[tuple[str, str]] = ()
) -> pd.DataFrame:
    """Set aside a part of the lesions of each archive and divide the rest into five folds.

    It is 15 %, of MILK10k 30 %. All images of a lesion go to the same part, and all lesions of a
    patient, where one is told; in each archive every part has the same share of each diagnosis, as
    far as the patients allow. The same lesions and seed give the same parts, whatever the order of
    the rows and whatever other archives are there.

    Args:
        table: with the columns `image_id`, `lesion_id`, `archive`, `diagnosis` and `apart`, and
            `patient_id` where patients are told.
        seed: decides which lesions go where.
        links: pairs of lesion ids that are one lesion: all linked ones go to the same fold, and
            none of them is in a fold if one is in the holdout or is never to be learnt.

    Returns:
        The table with the columns `fold`, 0 to 4, `HOLDOUT`, `LINKED` or `APART`, and `group`, a
        lesion id that all linked lesions have in common.

    Raises:
        DatasetError: a diagnosis has too few lesions to be in every part.

    >>> from skin_cancer.data import dataset
    >>> table = split(dataset.read(dataset.data_folder("sample")))
    >>> table["fold"].value_counts().sort_index().to_dict()
    {-1: 22, 0: 30, 1: 19, 2: 21, 3: 20, 4: 21}
    >>> set(table.groupby("lesion_id")["fold"].nunique())
    {1}
    """
    check(table)
    lesions, apart = _lesions(table)
    fold = pd.Series(APART, index=lesions.index)
    for archive, part in lesions[~apart].groupby("archive"):
        share = HOLDOUT_SHARES.get(archive, HOLDOUT_SHARE)
        drawn = _draw(_diagnoses(part), share, seed)
        fold[part.index] = part["unit"].map(drawn)
    group = _groups(lesions.sort_values("archive", kind="stable").index, links)
    fold = _joined(fold[group.index], group)
    lesion = table["lesion_id"]
    return table.assign(fold=lesion.map(fold).astype(int), group=lesion.map(group))


def check(table: pd.DataFrame) -> None:
    """Refuse a table that cannot be split.

    Args:
        table: as for `split`.

    Raises:
        DatasetError: names the diagnoses of an archive that have too few lesions.
    """
    lesions, apart = _lesions(table)
    for _, part in lesions[~apart].groupby("archive"):
        rare = _diagnoses(part).value_counts().loc[lambda counts: counts < FOLDS + 2]
        if len(rare):
            raise DatasetError(
                f"Too few lesions to split: {rare.to_dict()}; each diagnosis needs {FOLDS + 2}, of "
                "as many patients where these are told."
            )


def _lesions(table):
    """Return one row a lesion, and which of them no network may learn."""
    lesions = table.sort_values("image_id").drop_duplicates("lesion_id").set_index("lesion_id")
    lesions = lesions.sort_index()
    patients = lesions.get("patient_id", pd.Series(pd.NA, lesions.index, "string"))
    lesions = lesions.assign(unit=patients.fillna(lesions.index.to_series()))
    return lesions, lesions.index.isin(table["lesion_id"][table["apart"].notna()])


def _diagnoses(lesions):
    """Return the diagnosis of each patient, or of each lesion of none: of several the rarest."""
    frequency = lesions["diagnosis"].map(lesions["diagnosis"].value_counts())
    rarest_first = lesions.loc[frequency.sort_values(kind="stable").index]
    return rarest_first.drop_duplicates("unit").set_index("unit")["diagnosis"].sort_index()


def _draw(diagnoses, share, seed):
    """Return holdout or fold of each patient or lesion, from their diagnoses."""
    rest, _ = train_test_split(diagnoses, test_size=share, stratify=diagnoses, random_state=seed)
    rest = rest.sort_index()
    fold = pd.Series(HOLDOUT, index=diagnoses.index)
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


def units(table: pd.DataFrame) -> dict[str, str]:
    """Return by what each archive is divided: `patient`, `lesion`, or `image` if nothing is told.

    Args:
        table: as for `split`.
    """

    def unit(images):
        if "patient_id" in images and images["patient_id"].notna().any():
            return "patient"
        return "image" if (images["lesion_id"] == images["image_id"]).all() else "lesion"

    return {archive: unit(images) for archive, images in table.groupby("archive")}


def read_links(path: str | Path, table: pd.DataFrame) -> list[tuple[str, str]]:
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
