"""What the archives hold, in tables: their words for our diagnoses, and counts by source."""

from collections.abc import Iterable

import pandas as pd

from skin_cancer.data import archives, checked
from skin_cancer.data.levelling import CONTROL
from skin_cancer.diagnoses import ISIC_2019, TAXONOMY

REASONS = (checked.NONE_OF_OURS, checked.EXAMPLE, CONTROL)  # to keep an image apart
PUBLISHED = tuple(layout.name for layout in archives.TRAINING_LAYOUTS)
UNKNOWN = "unknown"


def taxonomy(names: Iterable[str] = PUBLISHED) -> pd.DataFrame:
    """Return the words of some archives for each of our diagnoses, from `TAXONOMY`.

    Args:
        names: of the archives, as in `TAXONOMY`.

    Returns:
        One row a meaning, one column an archive. A row is one of our codes, in ISIC order; several
        that a word may mean, the likeliest first (`SCC or AKIEC`); or none of ours, the last.

    >>> taxonomy()["ISIC 2019"]["SCC or AKIEC"], taxonomy()["MILK10k"]["SCC"]
    ('SCC', 'SCCKA')
    """
    order = [diagnosis.code for diagnosis in ISIC_2019]
    chosen = {archive: TAXONOMY[archive] for archive in names}
    meanings = {meant for words in chosen.values() for meant in words.values()}
    ordered = sorted(meanings, key=lambda meant: (not meant, len(meant), *map(order.index, meant)))
    table = {
        archive: ["; ".join(word for word in words if words[word] == meant) for meant in ordered]
        for archive, words in chosen.items()
    }
    index = [" or ".join(meant) or checked.NONE_OF_OURS for meant in ordered]
    return pd.DataFrame(table, pd.Index(index, name="ours"))


def sources(table: pd.DataFrame) -> pd.DataFrame:
    """Count the images and lesions of each archive and source.

    Args:
        table: as `dataset.read` returns it.

    Returns:
        One row an archive and source: `images`; `lesions`; `without a lesion id`, images that each
        count as a lesion of their own; `partial label`, images whose diagnosis may be one of two;
        `levelled`, images that are brought to one size; and how many images are kept `apart`, for
        each of `REASONS`.
    """
    sums = {
        "without a lesion id": table["lesion_id"] == table["image_id"],
        "partial label": table["alternative"].notna(),
        "levelled": table["level"] > 0,
        **{f"apart: {reason}": (table["apart"] == reason).fillna(False) for reason in REASONS},
    }
    keys = {"archive": table["archive"], "source": table["dataset"].fillna(UNKNOWN)}
    marked = table[["lesion_id"]].assign(**keys, **sums)
    groups = marked.groupby(list(keys))
    counts = groups.agg(images=("lesion_id", "size"), lesions=("lesion_id", "nunique"))
    return counts.join(groups[list(sums)].sum().astype(int))
