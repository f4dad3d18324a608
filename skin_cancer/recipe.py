"""The trainings that the recipe of the shipped network was found and made by; from the shell.

    python -m skin_cancer.recipe screening --data HAM10000_FOLDER --output runs/recipe

A finished training is not repeated and an interrupted one goes on, so the same command can be
given again at any time.
"""

import argparse
import dataclasses
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from skin_cancer import dataset, evaluation, metrics
from skin_cancer.batches import read_probabilities
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
    "learning_rate": 7e-4,
}
LEVERS = {
    "base": {},
    "augmentation 2": {"augmentation": 2.0},
    "rebalanced by half": {"rebalance": 0.5},
    "style mixing": {"style_mixing": 0.5},
    "mixup": {"mixup": 0.2},
    "sources rebalanced by half": {"source_rebalance": 0.5},
    "learning rate 3e-4": {"learning_rate": 3e-4},
    "statistics trained": {"normalisation": "trained"},
}


def screening() -> dict[str, dict]:
    """Return each lever's options, once with a fold and once with a source left out."""
    left_out = {"fold 0": {"fold": 0}, f"without {TRAVEL}": {"source": TRAVEL}}
    return {
        f"{lever}, {name}": {**SMALL, **part, **options}
        for lever, options in LEVERS.items()
        for name, part in left_out.items()
    }


STAGES = {"screening": screening}


def folder(output, name: str) -> Path:
    """Return the output folder of a named training."""
    return Path(output) / name.replace(", ", "-").replace(" ", "_")


def command(name: str, options: dict, output, data) -> list[str]:
    """Return the shell's command of a training, with the options that differ from the defaults."""
    defaults = dataclasses.asdict(TrainingConfig())
    given = {**options, "data": str(data), "output": str(folder(output, name))}
    changed = {key: value for key, value in given.items() if value != defaults[key]}
    options = [f"--{key.replace('_', '-')}={value}" for key, value in changed.items()]
    return ["python", "-m", "skin_cancer.training", *options, "--no-bundle"]


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
    todo = [name for name in trainings if not (folder(output, name) / PREDICTIONS).exists()]
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
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


def compare(trainings: dict[str, dict], output, table: pd.DataFrame) -> pd.DataFrame:
    """Measure the finished trainings on what each left out, and against the first of its kind.

    Args:
        trainings: name to options of `TrainingConfig`.
        output: folder with a folder for each training.
        table: the images, as `dataset.split` returns them.

    Returns:
        One row a finished training: `mean recall` of the diagnoses that occur, with its `interval`;
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


def _shown(cell):
    return f"{cell['value']:.3f} ({cell['low']:.3f} to {cell['high']:.3f})"


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
        data = dataset.data_folder(given.data)
        trainings = STAGES[given.stage]()
        if given.list:
            for name, options in trainings.items():
                print(f"{name}: {shlex.join(command(name, options, given.output, data))}")
            return
        if not given.table:
            run(trainings, given.output, data, given.jobs)
        table = compare(trainings, given.output, dataset.split(dataset.read(data))).map(_shown)
        print(table.to_string())
        if given.save:
            caption = f"Stage {given.stage}"
            evaluation.add_study(
                given.save, caption, table, f"python -m skin_cancer.recipe {given.stage}"
            )
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
