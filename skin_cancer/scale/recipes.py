"""Compare recipes by small trainings, and train a network by the one found; from the shell.

    python -m skin_cancer.scale.recipes screening --data HAM10000_FOLDER --output runs/recipe

A finished training is not repeated and an interrupted one goes on, so the same command can be
given again at any time. The trainings of each stage stand in `recipes.toml`.
"""

import argparse
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from skin_cancer.data import dataset, splits
from skin_cancer.errors import SkinCancerError, TrainingError
from skin_cancer.evaluation import metrics, record
from skin_cancer.images import cleaning, lesion
from skin_cancer.model import bundle, card
from skin_cancer.scale import publish, runs
from skin_cancer.training.config import PREDICTIONS, TrainingConfig

# Copies of the dataset, each image changed for training and validation alike.
PREPARATIONS = {
    "shades_of_grey": cleaning.shades_of_grey,
    "crop_to_lesion": lesion.crop_to_lesion,
    "remove_hairs": cleaning.remove_hairs,
}
LAST_STAGE = "third stage"  # of the folds' networks
OUT_OF_FOLD = "out_of_fold.csv"

Trainings = dict[str, dict[str, Any]]  # name to options, as in `recipes.toml`
Data = Path | list[Path]  # the dataset's folder or folders


def read_stages(path: Path) -> dict[str, Trainings]:
    """Read the trainings of each stage, by the stage's name.

    Args:
        path: of a file like `recipes.toml`, which says what stands in it.
    """
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _trainings(stage, content["recipe"]) for name, stage in content["stage"].items()}


def _trainings(stage, recipes):
    """Return name to options of each row, once for each part that is left out."""
    return {
        name + ending: _options(row, recipes, ending) | left_out
        for name, row in stage["trainings"].items()
        for ending, left_out in _left_out(stage).items()
    }


def _left_out(stage):
    """Return what each part that is left out adds to a training's name, and to its options."""
    folds = {f", fold {fold}": {"fold": fold} for fold in stage.get("folds", ())}
    sources = {f", without {source}": {"source": source} for source in stage.get("sources", ())}
    return folds | sources or {"": {}}


def _options(row, recipes, ending):
    options = dict(row)
    like = options.pop("like", None)
    if "start_weights" in options:
        options["start_weights"] = [start + ending for start in options["start_weights"]]
    return _options(recipes[like], recipes, ending) | options if like else options


STAGES = read_stages(Path(__file__).with_suffix(".toml"))
STARTS = {
    start
    for trainings in STAGES.values()
    for options in trainings.values()
    for start in options.get("start_weights", ())
}


def folder(output: str | Path, name: str) -> Path:
    """Return the output folder of a named training."""
    return Path(output) / re.sub(r"\W+", "_", name)


def bundle_of(output: str | Path, name: str) -> Path:
    """Return the bundle's folder of a named training."""
    return folder(output, name) / "bundle"


def command(name: str, options: dict[str, Any], output: str | Path, data: Data) -> list[str]:
    """Return the shell's command of a training, with the options that differ from the defaults."""
    folders = data if isinstance(data, list) else [data]
    given = {"data": ",".join(map(str, folders)), **options, "output": str(folder(output, name))}
    if "data" in options:
        given["data"] = str(folder(output, options["data"]))
    if "targets" in options:
        given["targets"] = str(Path(output) / options["targets"])
    if "start_weights" in options:
        starts = [str(bundle_of(output, start)) for start in options["start_weights"]]
        given["start_weights"] = ",".join(starts)
    defaults = dataclasses.asdict(TrainingConfig())
    changed = {key: value for key, value in given.items() if value != defaults[key]}
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in changed.items()]
    end = [] if _ends_in_bundle(name, options) else ["--no-bundle"]
    return ["python", "-m", "skin_cancer.training", *arguments, *end]


def _leaves_out(options):
    return "fold" in options or "source" in options


def _ends_in_bundle(name, options):
    """Return whether a training ends in more than predictions of what it left out."""
    return name in STARTS or not _leaves_out(options)


def _planned(name, options, output, task=None):
    last = f"bundle/{bundle.DESCRIPTION}" if _ends_in_bundle(name, options) else PREDICTIONS
    return runs.Run(folder(output, name), last, task)


def run(trainings: Trainings, output: str | Path, data: Data, jobs: int) -> None:
    """Run the trainings that are not finished, some at a time.

    Args:
        trainings: name to options.
        output: folder with a folder and a log for each training.
        data: the dataset's folder or folders.
        jobs: how many to run at a time; the processor's cores are shared among them.

    Raises:
        TrainingError: names the logs of the trainings that failed. The others are finished, but
            for those that go on from these.
    """
    planned = {
        name: _planned(name, options, output, command(name, options, output, data))
        for name, options in trainings.items()
    }
    todo = [trainings[name] for name in trainings if not planned[name].finished]
    for preparation in {options["data"] for options in todo if "data" in options}:
        prepare(data, folder(output, preparation), PREPARATIONS[preparation])
    errors = _run_in_order(trainings, planned, jobs)
    if errors:
        logs = ", ".join(str(_log(failed)) for failed in errors)
        raise TrainingError(
            f"{len(errors)} of {len(trainings)} trainings failed; read {logs}. Mend that and give "
            "the same command again: it goes on with these and with what goes on from them."
        )


def _run_in_order(trainings, planned, jobs):
    """Run each training after those that it goes on from, unless one of these fails."""
    order = TopologicalSorter({n: o.get("start_weights", ()) for n, o in trainings.items()})
    order.prepare()
    errors: dict[Path, str] = {}
    with ThreadPoolExecutor(jobs) as executor:
        while ready := order.get_ready():
            wave = [planned[name] for name in ready]
            errors |= runs.run_all(wave, partial(_train, jobs=jobs), executor)
            order.done(*(name for name in ready if planned[name].folder not in errors))
    return errors


def _train(place, arguments, jobs):
    """Run a training's command in a process of its own."""
    with _log(place).open("w") as log:
        subprocess.run(
            [sys.executable, *arguments[1:]],
            env={**os.environ, **runs.shared_cores(jobs)},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )


def _log(place):
    return place.with_suffix(".log")


def prepare(data: Data, copy: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write a copy of a dataset with each image changed, as JPEG of quality 98; once.

    Args:
        data: the folder of one dataset.
        copy: the new folder.
        change: uint8 RGB (height, width, 3) to the same with any height and width.

    Raises:
        DatasetError: the dataset, or an image of it, cannot be used.
        TrainingError: several folders are given.
    """
    if copy.exists():
        return
    if isinstance(data, list):
        raise TrainingError(f"{copy.name} is prepared from one dataset folder. Name one alone.")
    aside = copy.with_name(f".{copy.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    for path in tqdm(dataset.read(data)["path"], desc=copy.name, unit="image"):
        place = aside / path.relative_to(data)
        place.parent.mkdir(parents=True, exist_ok=True)
        image = change(dataset.read_image(path))
        cv2.imwrite(str(place), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    for table in data.glob("*.csv"):
        shutil.copy(table, aside)
    aside.rename(copy)


def write_out_of_fold(output: str | Path) -> Path:
    """Write the probabilities that each image has from a network that was not trained on it.

    They come from the last trainings of the stage `folds`, under the balanced prior; the holdout's
    images have none.

    Args:
        output: folder with a folder for each training.

    Returns:
        The table's path.

    Raises:
        TrainingError: a fold's training is not finished.
    """
    parts = []
    for name, options in STAGES["folds"].items():
        if not _planned(name, options, output).finished:
            raise TrainingError(f"{name} is not finished in {output}: run the stage folds first.")
        if name.startswith(LAST_STAGE):
            parts.append(dataset.read_probabilities(folder(output, name) / PREDICTIONS))
    path = Path(output) / OUT_OF_FOLD
    pd.concat(parts).to_csv(path, float_format="%.6g")
    return path


def compare(trainings: Trainings, output: str | Path, table: pd.DataFrame) -> pd.DataFrame:
    """Measure the finished trainings on what each left out, and against the first of its kind.

    Args:
        trainings: name to options.
        output: folder with a folder for each training.
        table: the images, as `splits.split` returns them.

    Returns:
        One row a finished training: `mean recall` of the diagnoses that occur, with its interval;
        `gain` against the first training with the same part left out, paired, with its interval,
        and None for that first one; area under the ROC curve of `melanoma against nevus` with its
        interval. Where all folds are finished, a row of all their images together follows.

    Raises:
        TrainingError: none is finished.
    """
    codes, rows = dataset.codes(table), {}
    first: dict[int | str, np.ndarray] = {}
    for name, (left_out, found) in _predictions(trainings, output).items():
        part = table.set_index("image_id", drop=False).loc[found.index]
        probabilities = found[list(codes)].to_numpy()
        base = first.setdefault(left_out, probabilities)
        gain = metrics.difference(part, probabilities, base, codes)
        rows[name] = {
            "mean recall": metrics.mean_recall(part, probabilities, codes),
            "gain": None if base is probabilities else gain,
            "melanoma against nevus": metrics.melanoma_against_nevus(part, probabilities, codes),
        }
    if not rows:
        raise TrainingError(f"No training of this stage is finished in {output}.")
    return pd.DataFrame(rows).T.rename_axis("training")


def _predictions(trainings, output):
    """Return name to (what was left out, predictions of it), all folds together included."""
    found: dict[str, tuple] = {}
    levers: dict[str, list] = {}
    for name, options in trainings.items():
        path = folder(output, name) / PREDICTIONS
        if not path.exists():
            continue
        predictions = dataset.read_probabilities(path)
        found[name] = options.get("source") or options.get("fold"), predictions
        if "fold" in options:
            lever = name.removesuffix(f", fold {options['fold']}")
            levers.setdefault(lever, []).append(predictions)
    for lever, parts in levers.items():
        if len(parts) == splits.FOLDS:
            found[f"{lever}, all folds"] = "all folds", pd.concat(parts)
    return found


def shown(table: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Return the table of `compare` as it is printed and saved.

    Columns without a figure are left out; that of the stage `sources` ends in the sources' mean.
    """
    table = table.dropna(axis=1, how="all")
    if stage == "sources" and len(table) == len(STAGES[stage]):
        table.loc["mean of the sources"] = table.map(lambda cell: cell["value"]).mean()
    return table


def main() -> None:
    """Run a stage from the shell and print its table, or put the networks into `models/`."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.scale.recipes", description=__doc__.split("\n")[0]
    )
    parser.add_argument("stage", choices=[*STAGES, "doubt", "publish"])
    parser.add_argument("--data", default="", help="dataset folder; without it ISIC_DATA_DIR")
    parser.add_argument("--output", default="runs/recipe", help="folder for all trainings")
    parser.add_argument("--jobs", default=1, type=runs.jobs, help="trainings at a time")
    parser.add_argument("--list", action="store_true", help="only print the trainings' commands")
    parser.add_argument("--table", action="store_true", help="only measure what is finished")
    parser.add_argument("--save", help="bundle to whose card the table is added")
    given = parser.parse_args()
    measured, shipped = (bundle_of(given.output, name) for name in ("measured", "shipped"))
    try:
        if given.stage == "publish":
            publish.publish(measured, shipped)
        elif given.stage == "doubt":
            data = dataset.data_folder(given.data)
            predictions = write_out_of_fold(given.output)
            graph = publish.add_doubt(measured, shipped, data, predictions)
            print(f"default graph: {graph}")
        else:
            _run_stage(given, dataset.data_folder(given.data))
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error


def _run_stage(given, data):
    trainings = STAGES[given.stage]
    if given.list:
        for name, options in trainings.items():
            print(f"{name}: {shlex.join(command(name, options, given.output, data))}")
        return
    if not given.table:
        if any("targets" in options for options in trainings.values()):
            write_out_of_fold(given.output)
        run(trainings, given.output, data, given.jobs)
    if not all(_leaves_out(options) for options in trainings.values()):
        return
    found = compare(trainings, given.output, splits.split(dataset.read(data)))
    table = shown(found, given.stage)
    print(table.map(card.cell).to_string())
    if given.save:
        shell = f"python -m skin_cancer.scale.recipes {given.stage}"
        record.add_study(given.save, f"Stage {given.stage}", table, shell)


if __name__ == "__main__":
    main()
