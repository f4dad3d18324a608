"""Write model bundles whole, with their card, and bring older ones up to date.

    python -m skin_cancer.model.bundle_writer BUNDLE

rewrites a bundle of an older schema in place; no figure changes.
"""

import argparse
import dataclasses
import json
import re
import shutil
from pathlib import Path

from skin_cancer import priors
from skin_cancer.errors import BundleError, SkinCancerError
from skin_cancer.model import bundle
from skin_cancer.model.card import model_card

_INTERVAL = re.compile(r"(-?[\d.]+) \((-?[\d.]+) to (-?[\d.]+)\)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_OLD_THRESHOLDS = "Malignant or precursor, thresholds set on other images"


def write(
    folder: str | Path,
    description: bundle.Description,
    files: str | Path,
    figures: dict[str, bytes] | None = None,
) -> None:
    """Write a bundle and its model card aside, then rename it into place.

    Args:
        folder: the bundle's folder; a bundle that is there already is replaced.
        description: becomes `bundle.json` and the model card.
        files: folder that holds the graphs, the reference if the description has doubt, Keras model
            and logits if the bundle is to have them, and the figures that are not given.
        figures: new figures by their file names.

    Raises:
        BundleError: the bundle cannot be written; what was there before is kept.
    """
    folder = Path(folder).resolve()
    aside = folder.with_name(f".{folder.name}.part")
    card = model_card(description)
    more = [name for name in bundle.OPTIONAL if (Path(files) / name).exists()]
    names = [*description.files, *more]
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        (aside / bundle.FIGURES).mkdir()
        for name, content in (figures or {}).items():
            (aside / bundle.FIGURES / name).write_bytes(content)
        for name in names:
            if not (aside / name).exists():
                shutil.copyfile(Path(files) / name, aside / name)
        (aside / bundle.CARD).write_text(card, encoding="utf-8")
        described = {"schema_version": bundle.SCHEMA_VERSION, **dataclasses.asdict(description)}
        checksums = {name: bundle.file_sha256(aside / name) for name in (*names, bundle.CARD)}
        described["sha256"] = {bundle.DESCRIPTION: bundle.content_sha256(described), **checksums}
        text = json.dumps(described, indent=1, ensure_ascii=False)
        (aside / bundle.DESCRIPTION).write_text(text + "\n", encoding="utf-8")
        _rename(aside, folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise BundleError(f"The bundle cannot be written to {folder}: {error}.") from error


def _rename(aside, folder):
    """Put the new folder in the place of the old, which comes back if that fails."""
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    try:
        aside.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def upgrade(folder: str | Path) -> None:
    """Bring a bundle of schema version 3 to the present one, in place.

    Version 3 kept figures as text and one prior.

    Args:
        folder: the bundle's folder.

    Raises:
        BundleError: the bundle is damaged, of another schema version, or cannot be written.
    """
    folder = Path(folder)
    content = bundle.read_content(folder, bundle.OLDEST_SCHEMA)
    dataset = content["training"]["provenance"].get("dataset", "HAM10000")
    fitted = dict(content["doubt"])
    if fitted:
        fitted["thresholds"] = {priors.CLINIC: fitted.pop("malignancy")}
    description = bundle.Description(
        name=content["name"],
        diagnoses=tuple(content["diagnoses"]),
        input_size=content["input_size"],
        default_graph=content["default_graph"],
        priors=priors.of_training(content["prior"], dataset),
        training=content["training"],
        metrics={title: _typed_metrics(kept) for title, kept in content["metrics"].items()},
        studies={caption: _typed_table(table) for caption, table in content["studies"].items()},
        doubt=fitted,
    )
    write(folder, description, folder)


def _typed_metrics(measured):
    tables = dict(measured.get("tables", {}))
    points = tables.pop(_OLD_THRESHOLDS, None)
    typed = {**measured, "tables": {name: _typed_table(table) for name, table in tables.items()}}
    if points:
        rows = [
            dict(zip(points["columns"], row, strict=True)) for row in _typed_table(points)["rows"]
        ]
        found = bundle.measured_thresholds(rows, points["command"])
        typed["thresholds"] = {priors.CLINIC: found}
    return typed


def _typed_table(table):
    return {**table, "rows": [[_typed(cell) for cell in row] for row in table["rows"]]}


def _typed(cell):
    """Return the number, the interval or the absence that a text stands for, or the text."""
    if cell == "-":
        return None
    if _NUMBER.fullmatch(cell):
        return float(cell) if "." in cell else int(cell)
    if found := _INTERVAL.fullmatch(cell):
        return dict(zip(("value", "low", "high"), map(float, found.groups()), strict=True))
    return cell


def main() -> None:
    """Bring a bundle up to date from the shell."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.model.bundle_writer",
        description="Bring a bundle of an older schema up to date, in place.",
    )
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    given = parser.parse_args()
    try:
        upgrade(given.bundle)
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error
    print(f"Written: {given.bundle}")


if __name__ == "__main__":
    main()
