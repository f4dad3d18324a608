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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from scipy.optimize import minimize
from tqdm.auto import tqdm

from skin_cancer import priors
from skin_cancer.data import dataset, splits
from skin_cancer.errors import SkinCancerError, TrainingError
from skin_cancer.evaluation import labels, metrics, record
from skin_cancer.images import cleaning, lesion
from skin_cancer.model import bundle, card
from skin_cancer.scale import publish, runs
from skin_cancer.training.config import PREDICTIONS, TrainingConfig, read_divided

# Copies of the dataset, each image changed for training and validation alike.
PREPARATIONS = {
    "shades_of_grey": cleaning.shades_of_grey,
    "crop_to_lesion": lesion.crop_to_lesion,
    "remove_hairs": cleaning.remove_hairs,
}
LAST_STAGE = "third stage"  # of the folds' networks
OUT_OF_FOLD = "out_of_fold.csv"
SAME_DATA = "Name the data and links that the stage was trained with."

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


def command(
    name: str, options: dict[str, Any], output: str | Path, data: Data, links: str = ""
) -> list[str]:
    """Return the shell's command of a training, with the options that differ from the defaults."""
    given = {"data": _listed(data), "links": links, **options, "output": str(folder(output, name))}
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


def _listed(data):
    return ",".join(map(str, data if isinstance(data, list) else [data]))


def _leaves_out(options):
    return "fold" in options or "source" in options


def _ends_in_bundle(name, options):
    """Return whether a training ends in more than predictions of what it left out."""
    return name in STARTS or not _leaves_out(options)


def _planned(name, options, output, task=None):
    last = f"bundle/{bundle.DESCRIPTION}" if _ends_in_bundle(name, options) else PREDICTIONS
    return runs.Run(folder(output, name), last, task)


def run(trainings: Trainings, output: str | Path, data: Data, jobs: int, links: str = "") -> None:
    """Run the trainings that are not finished, some at a time.

    Args:
        trainings: name to options.
        output: folder with a folder and a log for each training.
        data: the dataset's folder or folders.
        jobs: how many to run at a time; the processor's cores are shared among them.
        links: table of the images that show one lesion, or nothing.

    Raises:
        TrainingError: names the logs of the trainings that failed. The others are finished, but
            for those that go on from these.
    """
    planned = {
        name: _planned(name, options, output, command(name, options, output, data, links))
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
    with _log(place).open("w", encoding="utf-8") as log:
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
        table: the images, as `splits.split` returns them; linked lesions count as one.

    Returns:
        One row a finished training. `balanced log-loss` and `mean recall`, of the diagnoses that
        occur; the gain in each, `gain in log-loss` and `gain`, against the first training with the
        same part left out, paired, and None for that first one; area under the ROC curve of
        `melanoma against nevus` by their odds and, `by P(MEL)`, by the probability of melanoma,
        None where one of them does not occur. All have their interval. Where all folds of a row
        are finished, a row of all their images together follows, and one with `biases refitted`.

    Raises:
        TrainingError: none is finished, or one has predicted other images than the first.
    """
    table = table.assign(lesion_id=table["group"]).set_index("image_id", drop=False)
    rows = {}
    first: dict[int | str, pd.DataFrame] = {}
    for name, (left_out, found) in _predictions(trainings, output, table).items():
        base = first.setdefault(left_out, found)
        if not base.index.equals(found.index):
            raise TrainingError(f"{name} has predicted other images than the first. {SAME_DATA}")
        rows[name] = _measured(table.loc[found.index], found, None if base is found else base)
    if not rows:
        raise TrainingError(f"No training of this stage is finished in {output}.")
    return pd.DataFrame(rows).T.rename_axis("training")


def _measured(table, found, base):
    """Return the row of `compare` of some predictions, and their gains over others."""
    codes, ours = list(found), found.to_numpy()
    both = {"MEL", "NV"} <= set(table["diagnosis"])

    def gained(measure):
        return None if base is None else measure(table, ours, base.to_numpy(), codes)

    def ranked(measure):
        return measure(table, ours, codes) if both else None

    return {
        "balanced log-loss": metrics.balanced_log_loss(table, ours, codes),
        "gain in log-loss": gained(metrics.log_loss_gain),
        "mean recall": metrics.mean_recall(table, ours, codes),
        "gain": gained(metrics.difference),
        "melanoma against nevus": ranked(metrics.melanoma_against_nevus),
        "by P(MEL)": ranked(metrics.melanoma_by_probability),
    }


def _predictions(trainings, output, table):
    """Return name to (what was left out, predictions of it), folds together included."""
    found = {
        name: (options.get("source") or options.get("fold"), _read(path, table))
        for name, options in trainings.items()
        if (path := folder(output, name) / PREDICTIONS).exists()
    }
    folds = sorted({options["fold"] for options in trainings.values() if "fold" in options})
    title = "all folds" if len(folds) == splits.FOLDS else f"folds {' and '.join(map(str, folds))}"
    for lever in dict.fromkeys(_lever(*training) for training in trainings.items()):
        names = [f"{lever}, fold {fold}" for fold in folds]
        if len(names) > 1 and found.keys() >= set(names):
            together = pd.concat([found[name][1] for name in names])
            found[f"{lever}, {title}"] = title, together
            logits = [folder(output, name) / bundle.LOGITS for name in names]
            if all(path.exists() for path in logits):
                refitted = _refitted([_read(path, table) for path in logits], table)
                found[f"{lever}, {title}, biases refitted"] = title, refitted
    return found


def _lever(name, options):
    """Return a training's name without the part that it leaves out."""
    fold, source = options.get("fold"), options.get("source")
    return name.removesuffix(f", without {source}" if source else f", fold {fold}")


def _read(path, table):
    """Read what was predicted of images of a table."""
    codes, found = dataset.codes(table), dataset.read_probabilities(path)
    if not found.index.isin(table.index).all() or not set(codes) <= set(found):
        raise TrainingError(f"{path} is of other images or diagnoses. {SAME_DATA}")
    return found[list(codes)]


def _refitted(folds, table):
    """Return the probabilities of each fold's logits, with biases fitted on the other folds."""
    parts = []
    for place, logits in enumerate(folds):
        others = pd.concat([*folds[:place], *folds[place + 1 :]])
        biases = fit_biases(table.loc[others.index], others.to_numpy(), list(others))
        chances = priors.softmax(logits.to_numpy() + biases)
        parts.append(pd.DataFrame(chances, logits.index, logits.columns))
    return pd.concat(parts)


def fit_biases(table: pd.DataFrame, logits: np.ndarray, codes: Sequence[str]) -> np.ndarray:
    """Fit what is to be added to logits so that their balanced log-loss is least.

    Args:
        table: images that the network has not learnt, as `dataset.read` returns them.
        logits: float (images, diagnoses), of all diagnoses equally frequent.
        codes: ISIC codes of the columns.

    Returns:
        float64 (diagnoses,), of mean 0.
    """
    right, weights = labels.meant_by(table, codes), metrics.balanced_weights(table)

    def loss(biases):
        chances = priors.softmax(logits + biases)
        held = right * chances
        total = np.maximum(held.sum(axis=1, keepdims=True), 1e-12)
        return -weights @ np.log(total[:, 0]), weights @ (chances - held / total)

    biases = minimize(loss, np.zeros(len(codes)), jac=True).x
    return biases - biases.mean()


def shown(table: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Return the table of `compare` as it is printed and saved.

    Columns without a figure are left out. Where a stage leaves out sources alone and all are
    finished, the means over those with a figure end it.
    """
    table, trainings = table.dropna(axis=1, how="all"), STAGES[stage]
    if len(table) < len(trainings) or any("source" not in row for row in trainings.values()):
        return table
    values = table.map(lambda cell: cell["value"] if cell else np.nan).astype(float)
    levers = [f"{_lever(name, row)}, mean of the sources" for name, row in trainings.items()]
    means = values.groupby(levers, sort=False).mean()
    return pd.concat([table, means.astype(object)]).rename_axis(table.index.name)


def main() -> None:
    """Run a stage from the shell and print its table, or put the networks into `models/`."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.scale.recipes", description=__doc__.split("\n")[0]
    )
    parser.add_argument("stage", choices=[*STAGES, "doubt", "publish"])
    parser.add_argument("--data", default="", help="dataset folder; without it ISIC_DATA_DIR")
    parser.add_argument("--links", default="", help="table of the images that show one lesion")
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
            predictions = folder(given.output, "measured") / PREDICTIONS
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
            words = command(name, options, given.output, data, given.links)
            print(f"{name}: {shlex.join(words)}")
        return
    if not given.table:
        if any("targets" in options for options in trainings.values()):
            write_out_of_fold(given.output)
        run(trainings, given.output, data, given.jobs, given.links)
    if not all(_leaves_out(options) for options in trainings.values()):
        return
    images = read_divided(TrainingConfig(data=_listed(data), links=given.links))
    found = compare(trainings, given.output, images)
    table = shown(found, given.stage)
    print(table.map(card.cell).to_string())
    if given.save:
        shell = f"python -m skin_cancer.scale.recipes {given.stage}"
        record.add_study(given.save, f"Stage {given.stage}", table, shell)


if __name__ == "__main__":
    main()
