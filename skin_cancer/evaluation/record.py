"""What is measured of a bundle and of its trainings, written into it and its card."""

import dataclasses
import json
import re
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from skin_cancer import folders
from skin_cancer.errors import BundleError
from skin_cancer.model import bundle, bundle_writer


def save(folder: str | Path, measured: dict) -> None:
    """Write measures into a bundle and its card; those of the same title are replaced.

    Args:
        folder: the bundle's folder.
        measured: as `evaluate.evaluate` returns it.

    Raises:
        BundleError: the bundle is damaged or cannot be written.
    """
    with _changed(folder) as description:
        kept = description.metrics.get(measured["title"], {})
        more = {name: kept.get(name, {}) for name in ("thresholds", "tables", "figures")}
        _write_metrics(folder, description, measured["title"], more | measured)


def measured_thresholds(points: pd.DataFrame, command: str) -> dict:
    """Return what thresholds found, as it is kept in a bundle.

    Args:
        points: as `metrics.at_thresholds` returns them.
        command: what measured them.
    """
    return bundle.measured_thresholds(points.reset_index().to_dict("records"), command)


def illustrate(
    folder: str | Path,
    title: str,
    command: str,
    tables: dict[str, pd.DataFrame],
    figures: dict[str, bytes],
) -> None:
    """Add tables and figures to the measures of a title in a bundle and its card.

    Args:
        folder: the bundle's folder.
        title: of the measures, as `evaluate.how_measured` gives it.
        command: what made them.
        tables: caption to table; those of the same caption are replaced.
        figures: caption to PNG file, likewise; none may show an image of a dataset.

    Raises:
        BundleError: the bundle is damaged, cannot be written, or has no measures of that title.
    """
    with _changed(folder) as description:
        if title not in description.metrics:
            raise BundleError(
                f"{folder} has no measures of {title}. Save them first: -p save True in notebook 4."
            )
        kept = description.metrics[title]
        files = {_file_name(title, caption): caption for caption in figures}
        measured = {
            **kept,
            "tables": kept.get("tables", {})
            | {caption: _plain(table, command) for caption, table in tables.items()},
            "figures": kept.get("figures", {})
            | {name: {"caption": caption, "command": command} for name, caption in files.items()},
        }
        drawn = {name: figures[caption] for name, caption in files.items()}
        _write_metrics(folder, description, title, measured, drawn)


def add_study(folder: str | Path, caption: str, table: pd.DataFrame, command: str) -> None:
    """Add a table of compared trainings to a bundle and its card; one of its caption is replaced.

    Args:
        folder: the bundle's folder.
        caption: of the table.
        table: with an index of a name.
        command: what made it.

    Raises:
        BundleError: the bundle is damaged or cannot be written.
    """
    with _changed(folder) as description:
        studies = {**description.studies, caption: _plain(table, command)}
        bundle_writer.write(folder, dataclasses.replace(description, studies=studies), folder)


@contextmanager
def _changed(folder):
    """Yield what a bundle says, while other runs that change it or one beside it wait."""
    try:
        with folders.in_turn(Path(folder).resolve().parent):
            yield bundle.read(folder)
    except OSError as error:
        raise BundleError(f"The bundle cannot be written to {folder}: {error}.") from error


def _write_metrics(folder, description, title, measured, figures=None):
    metrics = {**description.metrics, title: measured}
    bundle_writer.write(folder, dataclasses.replace(description, metrics=metrics), folder, figures)


def _plain(table, command):
    """Return a table with typed cells, fit for JSON."""
    table = table.reset_index()
    return {
        "columns": [str(name) for name in table],
        "rows": json.loads(table.to_json(orient="values", double_precision=15)),
        "command": command,
    }


def _file_name(title, caption):
    return re.sub(r"\W+", "_", f"{title} {caption}").lower() + ".png"
