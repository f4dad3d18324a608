"""Hide the size in which images came, where it tells their diagnosis: in BCN_20000."""

import pandas as pd

from skin_cancer.errors import DatasetError, ImageError
from skin_cancer.images import decoding

BCN = "BCN_20000"
CONTROL = "control of sharpness"


def levelled(table: pd.DataFrame) -> pd.DataFrame:
    """Find the size to bring all images of BCN_20000 to, if its melanomas came in another.

    It is the smaller of the two usual sizes. Images of the other's size are kept apart: what a
    network says of them shows whether it has learnt the size or the lesion.

    Args:
        table: one row an image, with `dataset`, `diagnosis`, `apart`, `level` and `path`.

    Returns:
        The table; `level` and `apart` of the images of BCN_20000 may have changed.

    Raises:
        DatasetError: an image cannot be read.
    """
    rows = table[table["dataset"] == BCN]
    melanoma = rows["diagnosis"] == "MEL"
    sides = rows["path"].map(_shorter_side)
    usual = sides.groupby(melanoma).median()
    if usual.nunique() < 2:
        return table
    level = int(usual.min())
    control = (sides > level) != (melanoma.map(usual) > level)
    table = table.copy()
    table.loc[rows.index, "level"] = level
    table.loc[rows.index[control], "apart"] = CONTROL
    return table


def _shorter_side(path):
    try:
        return min(decoding.read_size(path))
    except ImageError as error:
        raise DatasetError(f"{path} cannot be used: {error} Replace it.") from error
