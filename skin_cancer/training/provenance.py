"""What the weights of a training come from."""

import hashlib
import itertools
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from skin_cancer.data import dataset, splits
from skin_cancer.training.config import TrainingConfig, kept_apart
from skin_cancer.training.keras_settings import keras


def provenance_of(config: TrainingConfig, table: pd.DataFrame, training: pd.DataFrame) -> dict:
    """Return what the weights come from, for checkpoint and bundle.

    Args:
        config: of the run.
        table: all images, as `dataset.split` returns them.
        training: those that are trained on, numbered from 0.

    Returns:
        Dictionary fit for JSON: hashes and counts of images and lesions, the lesions kept apart,
        commit, versions and machine.

    Raises:
        DatasetError: the links, or an image, cannot be read.
    """
    apart = kept_apart(table, training)
    packages = ("keras", keras.backend.backend(), "numpy", "opencv-python-headless")
    return {
        "dataset": dataset.title(training),
        "diagnoses": list(dataset.codes(table)),
        "data_sha256": dataset.fingerprint(training),
        "labels_sha256": dataset.label_fingerprint(training),
        "images": len(training),
        "lesions": int(training["lesion_id"].nunique()),
        "divided_by": splits.units(table),
        "lesions_unnamed": int((training["lesion_id"] == training["image_id"]).sum()),
        "images_of_sources": _counts(training, ["archive", "dataset"]),
        "images_levelled": _counts(training[training["level"] > 0], ["dataset", "level"]),
        "images_apart": _counts(table[table["fold"] < 0], ["archive", "fold"]),
        "links_sha256": _digest(config.links),
        "links": splits.read_links(config.links, table) if config.links else [],
        "kept_sha256": _hash_of(apart),
        "kept": apart,
        "picture_size": dataset.read_image(training["path"][0]).shape[1::-1],
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "targets_sha256": _digest(config.targets),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }


def _counts(table, columns):
    """Return how many images there are of each combination, by its name."""
    counts = table.groupby(columns, dropna=False).size()
    return {", ".join(map(str, key)): int(count) for key, count in counts.items()}


def _hash_of(lesions):
    text = "\n".join(sorted(itertools.chain(*lesions.values())))
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None


def _git_commit():
    """Return the commit of this file's repository, marked if files differ from it, or None."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        run = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()
