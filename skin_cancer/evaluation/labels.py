"""What the labels of archives mean beside what a network says: which answers are right."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from skin_cancer.data import dataset
from skin_cancer.diagnoses import BY_CODE, told_apart
from skin_cancer.errors import DatasetError


def told_of(table: pd.DataFrame, codes: Sequence[str]) -> list[str]:
    """Return those of some codes that the labels of a table tell apart.

    Args:
        table: one row an image, with `archive`; without that all are told apart.
        codes: ISIC codes.
    """
    if "archive" not in table:
        return list(codes)
    told = set().union(*(told_apart(archive) for archive in table["archive"].unique()))
    return [code for code in codes if code in told]


def truth_of(table: pd.DataFrame, codes: Sequence[str]) -> np.ndarray:
    """Return the column of each image's true diagnosis among `codes`: int (images,).

    Raises:
        DatasetError: the table holds a diagnosis that is not among them.
    """
    columns = {code: i for i, code in enumerate(codes)}
    unknown = sorted(set(table["diagnosis"]) - set(columns))
    if unknown:
        raise DatasetError(f"The model does not know {', '.join(unknown)}, which is in the data.")
    return table["diagnosis"].map(columns).to_numpy(int)


def answers_of(table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str]) -> np.ndarray:
    """Return the column of each image's most probable diagnosis: int (images,).

    Where an archive does not know invasive squamous cell carcinoma, its probability is added to
    that of AKIEC first. Where the label may mean either of two diagnoses (`alternative`) and the
    other one is answered, the answer is right and counts as the image's `diagnosis`.
    """
    answers = as_told(table, probabilities, codes).argmax(axis=1)
    if "alternative" not in table:
        return answers
    other = table["alternative"].map({code: i for i, code in enumerate(codes)})
    return np.where(answers == other.to_numpy(float), truth_of(table, codes), answers)


def as_told(table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str]) -> np.ndarray:
    """Return probabilities of what the labels tell apart: float (images, diagnoses).

    Where an image's archive does not know SCC, that of SCC is added to that of AKIEC and is 0.
    """
    if "archive" not in table or not {"AKIEC", "SCC"} <= set(codes):
        return probabilities
    one = _knows_no_scc(table)
    scc, akiec = list(codes).index("SCC"), list(codes).index("AKIEC")
    merged = probabilities.copy()
    merged[one, akiec] += merged[one, scc]
    merged[one, scc] = 0
    return merged


def as_right(table: pd.DataFrame, probabilities: np.ndarray, codes: Sequence[str]) -> np.ndarray:
    """Return the column of each image's true diagnosis, or of its answer where that is right too.

    Args:
        table: one row an image, with `diagnosis`, `alternative` and `archive`.
        probabilities: float (images, diagnoses), of what the labels tell apart.
        codes: ISIC codes of the columns.
    """
    truth = truth_of(table, codes)
    right = answers_of(table, probabilities, codes) == truth
    return np.where(right, probabilities.argmax(axis=1), truth)


def meant_by(table: pd.DataFrame, codes: Sequence[str]) -> np.ndarray:
    """Return whether each diagnosis is right for an image: bool (images, diagnoses).

    Right are the image's `diagnosis` and its `alternative`, and for the AKIEC of an archive whose
    labels do not know SCC that as well.

    Args:
        table: one row an image, as `dataset.read` returns it.
        codes: ISIC codes of the columns.
    """
    meant = dataset.label_sets(table, codes) > 0
    if "SCC" in codes:
        merged = (table["diagnosis"] == "AKIEC").to_numpy() & _knows_no_scc(table)
        meant[merged, list(codes).index("SCC")] = True
    return meant


def malignant_of(table: pd.DataFrame) -> np.ndarray:
    """Return whether each image shows a malignant lesion or a precursor: bool (images,).

    >>> malignant_of(pd.DataFrame({"diagnosis": ["MEL", "NV", "AKIEC"]}))
    array([ True, False,  True])
    """
    return table["diagnosis"].map(lambda code: BY_CODE[code].malignant).to_numpy(bool)


def malignancy(probabilities: np.ndarray, codes: Sequence[str]) -> np.ndarray:
    """Return the probability that a lesion is malignant or a precursor: float (images,).

    >>> malignancy(np.array([[0.5, 0.3, 0.2]]), ["MEL", "NV", "BCC"])
    array([0.7])
    """
    return probabilities[:, [BY_CODE[code].malignant for code in codes]].sum(axis=1)


def _knows_no_scc(table):
    return ~table["archive"].map(lambda archive: "SCC" in told_apart(archive)).to_numpy(bool)
