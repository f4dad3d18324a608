"""Look at labelled images before a training does; from the shell.

    python -m skin_cancer.data.check FOLDER

names every image that cannot be used, says what there is, finds what stands twice, and writes the
table that a training would use.
"""

import argparse
import hashlib
from pathlib import Path

import pandas as pd

from skin_cancer.data import checked, dataset, overlap, splits
from skin_cancer.data.reading import LESIONS, Reading, reading_of
from skin_cancer.errors import DatasetError, SkinCancerError
from skin_cancer.images import decoding

IMAGES, PAIRS = "images.csv", "pairs.csv"
PARTS = {splits.HOLDOUT: "holdout", splits.LINKED: "linked", splits.APART: "apart"}
WRITTEN = ["image_id", "lesion_id", "patient_id", "diagnosis", "alternative", "archive", "apart"]


def summary(table: pd.DataFrame) -> str:
    """Return in lines what a table of images holds.

    Args:
        table: as `splits.split` returns it.
    """
    patients = table.get("patient_id", pd.Series(dtype="string")).nunique()
    told = f", {patients:,} patients" if patients else ""
    units = ", ".join(f"{archive} by {unit}" for archive, unit in splits.units(table).items())
    lesions = table.drop_duplicates("lesion_id")
    counts = {"images": table, "lesions": lesions}
    shown = pd.DataFrame({name: rows["diagnosis"].value_counts() for name, rows in counts.items()})
    sizes = pd.Series([decoding.read_size(path) for path in table["path"]]).value_counts()
    widths = [f"{width} x {height} ({count:,})" for (width, height), count in sizes.items()]
    apart = [f"{why} ({count:,})" for why, count in table["apart"].value_counts().items()]
    parts = table["fold"].map(lambda fold: PARTS.get(fold, f"fold {fold}")).value_counts()
    return "\n".join(
        [
            f"{len(table):,} images of {len(lesions):,} lesions{told}",
            f"divided: {units}",
            shown.sort_values("images", ascending=False).to_string(),
            f"sizes in pixels: {checked.shown(widths)}",
            f"never learnt: {checked.shown(apart) or 'none'}",
            f"parts: {', '.join(f'{part} {count:,}' for part, count in parts.items())}",
        ]
    )


def twins(table: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of images whose files are the same to the byte.

    Returns:
        `image_a`, `image_b`, the first of each group beside each further one.
    """
    digests = table["path"].map(lambda path: hashlib.sha256(path.read_bytes()).hexdigest())
    first = table["image_id"].groupby(digests).transform("first")
    again = first != table["image_id"]
    return pd.DataFrame({"image_a": first[again], "image_b": table["image_id"][again]})


def across(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return those pairs of images of which one is trained on while the other is measured on."""
    fold = table.set_index("image_id")["fold"]
    one, other = pairs["image_a"].map(fold), pairs["image_b"].map(fold)
    return pairs[(one != other) & (one > splits.APART) & (other > splits.APART)]


def check(data: str, reading: Reading, output: Path) -> str:
    """Check the images of a dataset and write what a training would use.

    Args:
        data: as for `dataset.data_folder`.
        reading: what the folder does not tell by itself.
        output: folder for `images.csv`, the images with their parts, and `pairs.csv`, those found
            to show one lesion under two ids, which a training takes by `--links`.

    Returns:
        In lines what there is and what stands twice.

    Raises:
        DatasetError: the dataset, or an image of it, cannot be used, or the output not be written.
    """
    table = dataset.read(dataset.data_folder(data), reading)
    dataset.check_images(table)
    table = splits.split(table)
    pairs = overlap.find(table, overlap.read_features(table, output / "features"))
    same = twins(table)
    lines = [
        summary(table),
        _told("the same file under two names", table, same),
        _told("one lesion under two lesion ids, by local features", table, pairs),
    ]
    try:
        kept = table.reindex(columns=WRITTEN).assign(part=table["fold"].replace(PARTS))
        kept.assign(path=table["path"]).to_csv(output / IMAGES, index=False)
        pairs.to_csv(output / PAIRS, index=False)
    except OSError as error:
        raise DatasetError(f"{output} cannot be written to: {error}.") from error
    return "\n".join([*lines, f"written: {output / IMAGES}, {output / PAIRS} (for --links)"])


def _told(what, table, pairs):
    split = across(table, pairs)
    names = [" = ".join(pair) for pair in zip(split["image_a"], split["image_b"], strict=True)]
    more = f", {len(split):,} of them across parts: {checked.shown(names)}" if names else ""
    return f"{what}: {len(pairs):,}{more}"


def main() -> None:
    """Check from the shell."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.data.check",
        description="Check labelled images, and write the table that a training would use.",
    )
    parser.add_argument("data", help="dataset folder, several with commas between, or sample")
    parser.add_argument("--output", default="runs/check", type=Path, help="folder for the tables")
    parser.add_argument(
        "--lesions",
        default="published",
        choices=LESIONS,
        help="images: each is a lesion of its own where nothing tells the lesions",
    )
    parser.add_argument("--columns", default="", help="image=NAME,diagnosis=NAME,lesion=NAME")
    parser.add_argument(
        "--diagnoses", default="", help="of your own, or word=diagnosis, with commas"
    )
    parser.add_argument("--malignant", default="", help="which of them are, with commas between")
    parser.add_argument("--missing", default=0.0, type=float, help="share that may be left out")
    given = parser.parse_args()
    try:
        print(check(given.data, reading_of(vars(given)), given.output))
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
