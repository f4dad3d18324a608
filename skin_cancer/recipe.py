"""Compare recipes by small trainings, and train a network by the one found; from the shell.

    python -m skin_cancer.recipe screening --data HAM10000_FOLDER --output runs/recipe

A finished training is not repeated and an interrupted one goes on, so the same command can be
given again at any time.
"""

import argparse
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import pandas as pd
from tqdm.auto import tqdm

from skin_cancer import bundle, card, dataset, evaluation, imaging, lesion, metrics
from skin_cancer.batches import read_probabilities
from skin_cancer.classifier import Classifier
from skin_cancer.config import TrainingConfig
from skin_cancer.errors import SkinCancerError, TrainingError
from skin_cancer.training import PREDICTIONS

TRAVEL = "vidir_modern"  # the source that screening leaves out

# Small and short, so that many can be compared; each lever is pulled alone.
SMALL = {
    "image_size": 128,
    "first_image_size": 128,
    "epochs": 4,
    "normalisation": "frozen",
    "learning_rate": 3e-4,
}
LEVERS = {
    "base": {},
    "augmentation 2": {"augmentation": 2.0},
    "style mixing": {"style_mixing": 0.5},
    "rebalanced by half": {"rebalance": 0.5},
    "sources rebalanced by half": {"source_rebalance": 0.5},
    "each source's own prior": {"prior": "source"},
    "mixup": {"mixup": 0.2},
    "colour constancy": {"data": "shades_of_grey"},
    "cropped to the lesion": {"data": "crop_to_lesion"},
    "hairs removed": {"data": "remove_hairs"},
    "learning rate 7e-4": {"learning_rate": 7e-4},
    "statistics trained": {"normalisation": "trained", "learning_rate": 7e-4},
}

# Copies of the dataset, each picture changed for training and validation alike.
PREPARATIONS = {
    "shades_of_grey": imaging.shades_of_grey,
    "crop_to_lesion": lesion.crop_to_lesion,
    "remove_hairs": imaging.remove_hairs,
}

# Until the screening is finished, the recipe of folds, sources and network is its base.
FOUND = {**SMALL}
LARGE = {**FOUND}
SOURCES = ("vidir_molemax", "vidir_modern", "rosendahl", "vienna_dias")
TEACHERS = "teachers.csv"


def screening() -> dict[str, dict]:
    """Return each lever's options, once with a fold and once with a source left out."""
    left_out = {"fold 0": {"fold": 0}, f"without {TRAVEL}": {"source": TRAVEL}}
    return {
        f"{lever}, {name}": {**SMALL, **part, **options}
        for lever, options in LEVERS.items()
        for name, part in left_out.items()
    }


def sources() -> dict[str, dict]:
    """Return the found recipe, with each source left out."""
    return {f"found, without {source}": {**FOUND, "source": source} for source in SOURCES}


def folds() -> dict[str, dict]:
    """Return the found recipe, with each fold left out: what it is worth, and the teachers."""
    return {f"found, fold {fold}": {**FOUND, "fold": fold} for fold in range(dataset.FOLDS)}


def measured() -> dict[str, dict]:
    """Return the network that the holdout's figures are of."""
    return {"measured": {**LARGE, "targets": TEACHERS}}


def shipped() -> dict[str, dict]:
    """Return the network that is to ship: the same recipe on all lesions."""
    return {"shipped": {**LARGE, "targets": TEACHERS, "holdout": "included"}}


STAGES = {
    "screening": screening,
    "sources": sources,
    "folds": folds,
    "measured": measured,
    "shipped": shipped,
}


def folder(output, name: str) -> Path:
    """Return the output folder of a named training."""
    return Path(output) / re.sub(r"\W+", "_", name)


def command(name: str, options: dict, output, data) -> list[str]:
    """Return the shell's command of a training, with the options that differ from the defaults."""
    defaults = dataclasses.asdict(TrainingConfig())
    given = {"data": str(data), **options, "output": str(folder(output, name))}
    if "data" in options:
        given["data"] = str(folder(output, options["data"]))
    if "targets" in options:
        given["targets"] = str(Path(output) / options["targets"])
    changed = {key: value for key, value in given.items() if value != defaults[key]}
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in changed.items()]
    end = ["--no-bundle"] if _leaves_out(options) else []
    return ["python", "-m", "skin_cancer.training", *arguments, *end]


def _leaves_out(options):
    """Return whether a training ends in predictions of what it left out, and not in a bundle."""
    return "fold" in options or "source" in options


def _finished(name, options, output):
    end = PREDICTIONS if _leaves_out(options) else f"bundle/{bundle.DESCRIPTION}"
    return (folder(output, name) / end).exists()


def run(trainings: dict[str, dict], output, data, jobs: int) -> None:
    """Run the trainings that are not finished, some at a time.

    Args:
        trainings: name to options of `TrainingConfig`.
        output: folder with a folder and a log for each training.
        data: the dataset's folder.
        jobs: how many to run at a time; the processor's cores are shared among them.

    Raises:
        TrainingError: names the trainings that failed and their logs.
    """
    Path(output).mkdir(parents=True, exist_ok=True)
    todo = [name for name in trainings if not _finished(name, trainings[name], output)]
    for preparation in {trainings[name]["data"] for name in todo if "data" in trainings[name]}:
        prepare(data, folder(output, preparation), PREPARATIONS[preparation])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = str(max(1, cores // jobs))
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}

    def work(name):
        arguments = command(name, trainings[name], output, data)
        with folder(output, name).with_suffix(".log").open("w") as log:
            done = subprocess.run(
                [sys.executable, *arguments[1:]],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        return name, done.returncode

    with ThreadPoolExecutor(jobs) as pool:
        done = list(tqdm(pool.map(work, todo), total=len(todo), unit="training"))
    failed = [str(folder(output, name).with_suffix(".log")) for name, code in done if code]
    if failed:
        raise TrainingError(f"{len(failed)} trainings failed; read {', '.join(failed)}.")


def prepare(data, copy: Path, change) -> None:
    """Write a copy of a dataset with each picture changed, as JPEG of quality 98; once.

    Args:
        data: the dataset's folder.
        copy: the new folder.
        change: uint8 RGB (height, width, 3) to the same with any height and width.

    Raises:
        DatasetError: the dataset, or an image of it, cannot be used.
    """
    if copy.exists():
        return
    aside = copy.with_name(f".{copy.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    for path in tqdm(dataset.read(data)["path"], desc=copy.name, unit="image"):
        place = aside / path.relative_to(data)
        place.parent.mkdir(parents=True, exist_ok=True)
        picture = change(dataset.read_image(path))
        cv2.imwrite(str(place), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    for table in Path(data).glob("*.csv"):
        shutil.copy(table, aside)
    aside.rename(copy)


def write_teachers(output, data) -> Path:
    """Write the probabilities that each image has from networks that were not trained on it.

    Images of the five folds have them from the trainings of the stage `folds`; those of the
    holdout, as soon as the stage `measured` is finished, from its network.

    Args:
        output: folder with a folder for each training.
        data: the dataset's folder.

    Returns:
        The table's path.

    Raises:
        TrainingError: a fold's training is not finished.
        SkinCancerError: the dataset cannot be used.
    """
    parts = []
    for name, options in folds().items():
        if not _finished(name, options, output):
            raise TrainingError(f"{name} is not finished in {output}: run the stage folds first.")
        parts.append(read_probabilities(folder(output, name) / PREDICTIONS))
    [network] = measured()
    if _finished(network, {}, output):
        classifier = Classifier.load(folder(output, network) / "bundle")
        table = dataset.split(dataset.read(data))
        table = table[table["fold"] == dataset.HOLDOUT]
        found = evaluation.predict_table(classifier, table)
        index = pd.Index(table["image_id"], name="image_id")
        parts.append(pd.DataFrame(found, index, classifier.description.diagnoses))
    path = Path(output) / TEACHERS
    pd.concat(parts).to_csv(path, float_format="%.6g")
    return path


def compare(trainings: dict[str, dict], output, table: pd.DataFrame) -> pd.DataFrame:
    """Measure the finished trainings on what each left out, and against the first of its kind.

    Args:
        trainings: name to options of `TrainingConfig`.
        output: folder with a folder for each training.
        table: the images, as `dataset.split` returns them.

    Returns:
        One row a finished training: `mean recall` of the diagnoses that occur, with its interval;
        `gain` against the first training with the same part left out, paired, with its interval;
        area under the ROC curve of `melanoma against nevus` with its interval.

    Raises:
        TrainingError: none is finished.
    """
    codes, first, rows = dataset.codes(table), {}, {}
    for name, options in trainings.items():
        path = folder(output, name) / PREDICTIONS
        if not path.exists():
            continue
        found = read_probabilities(path)[list(codes)]
        part = table.set_index("image_id", drop=False).loc[found.index]
        probabilities = found.to_numpy()
        left_out = options.get("source") or options.get("fold")
        base = first.setdefault(left_out, probabilities)
        rows[name] = {
            "mean recall": metrics.mean_recall(part, probabilities, codes),
            "gain": metrics.difference(part, probabilities, base, codes),
            "melanoma against nevus": metrics.melanoma_against_nevus(part, probabilities, codes),
        }
    if not rows:
        raise TrainingError(f"No training of this stage is finished in {output}.")
    return pd.DataFrame(rows).T.rename_axis("training")


def as_text(table: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Return the table of `compare` as text; that of the stage `sources` ends in their mean."""
    shown = table.map(card.interval)
    if stage == "sources" and len(table) == len(SOURCES):
        means = table.map(lambda cell: cell["value"]).mean()
        shown.loc[evaluation.SOURCES_MEAN] = means.map("{:.3f}".format)
    return shown


def main():
    """Run a stage from the shell, then print its table."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.recipe", description=__doc__.split("\n")[0]
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--data", default="", help="dataset folder; without it ISIC_DATA_DIR")
    parser.add_argument("--output", default="runs/recipe", help="folder for all trainings")
    parser.add_argument("--jobs", default=1, type=int, help="trainings at a time")
    parser.add_argument("--list", action="store_true", help="only print the trainings' commands")
    parser.add_argument("--table", action="store_true", help="only measure what is finished")
    parser.add_argument("--save", help="bundle to whose card the table is added")
    given = parser.parse_args()
    try:
        _run_stage(given, dataset.data_folder(given.data))
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error


def _run_stage(given, data):
    trainings = STAGES[given.stage]()
    if given.list:
        for name, options in trainings.items():
            print(f"{name}: {shlex.join(command(name, options, given.output, data))}")
        return
    if not given.table:
        if any("targets" in options for options in trainings.values()):
            write_teachers(given.output, data)
        run(trainings, given.output, data, given.jobs)
    if not all(_leaves_out(options) for options in trainings.values()):
        return
    found = compare(trainings, given.output, dataset.split(dataset.read(data)))
    table = as_text(found, given.stage)
    print(table.to_string())
    if given.save:
        shell = f"python -m skin_cancer.recipe {given.stage}"
        evaluation.add_study(given.save, f"Stage {given.stage}", table, shell)


if __name__ == "__main__":
    main()
