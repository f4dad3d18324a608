r"""Run a notebook once for each combination of parameters, on Dask; also from the shell.

    python -m skin_cancer.scale.sweep notebooks/03_training.ipynb \
        -p learning_rate 3e-4 7e-4 -p fold 0 1

Each combination has a folder of its own. What is finished is not run again and what failed or was
interrupted is, in the same folder, so the same command can be given again at any time.

On several GPUs or machines: start `dask scheduler` and, for each GPU, a worker that sees no other,

    CUDA_VISIBLE_DEVICES=0 dask worker ADDRESS --resources "training=1"

then add `--scheduler ADDRESS`. All of them need this project and the folder of the runs under the
same path.
"""

import argparse
import hashlib
import itertools
import json
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import papermill
import seaborn as sns
from dask.distributed import Client
from matplotlib.figure import Figure

from skin_cancer.errors import ClusterError, ParameterError, SkinCancerError
from skin_cancer.evaluation import figures
from skin_cancer.notebook import ROOT
from skin_cancer.scale import runs, scoring

METRICS, PARAMETERS = "metrics.json", "parameters.json"
TABLE, FIGURE = "table.csv", "figure.png"
RESOURCES = {"training": 1}  # what a run takes of a worker, and a worker of this machine offers
WORDS = {"True": True, "true": True, "False": False, "false": False, "None": None}


def cluster(jobs: int = 1, scheduler: str = "") -> AbstractContextManager[Client]:
    """Give a Dask client whose workers take one run at a time, as a context.

    Args:
        jobs: worker processes of this machine; they share its cores.
        scheduler: address such as `tcp://HOST:8786`; empty for this machine alone.

    Raises:
        ClusterError: nobody answers at the address.
    """
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2"}  # its own words would bury the progress bar
    environment = runs.shared_cores(jobs) | quiet
    return scoring.cluster(scheduler, jobs, resources=RESOURCES, env=environment)


def sweep(
    notebook: str | Path, grid: dict[str, list], client: Client, folder: str | Path = "runs"
) -> pd.DataFrame:
    """Run a notebook for each combination that is not finished, and compare them all.

    A run writes to `FOLDER/HASH/`: the executed notebook, `parameters.json` and what the notebook
    writes to its parameter `output`. It is finished once there is `metrics.json`, a dictionary
    that the notebook writes last; its numbers are the metrics.

    Args:
        notebook: path of a notebook with the parameter `output`.
        grid: the values of each parameter; those of one value are the same for all runs.
        client: of a cluster whose workers have the resource `training`, as of `cluster`.
        folder: of all runs; the workers must reach it as well.

    Returns:
        One row a run: each parameter that has several values, each metric, `seconds`, `folder`,
        and `error`, why the run failed, missing if it did not. It is also written, with its
        figure if there is anything to compare, into `results(notebook, grid, folder)`.

    Raises:
        ParameterError: there is no such notebook or parameter; nothing has been run.
        ClusterError: no worker has the resource.
    """
    notebook = Path(notebook)
    _check(notebook, grid)
    _check_workers(client)
    combinations = [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
    ]
    folders = {_run_folder(notebook, chosen, folder): chosen for chosen in combinations}
    planned = [
        runs.Run(run, METRICS, (notebook.resolve(), chosen)) for run, chosen in folders.items()
    ]
    executor = client.get_executor(resources=RESOURCES, pure=False)
    errors = runs.run_all(planned, _execute, executor)
    swept = [name for name, values in grid.items() if len(values) > 1]
    measured = pd.DataFrame(map(_metrics, folders)).drop(columns=swept, errors="ignore")
    table = pd.DataFrame(folders.values(), dtype=object)[swept].join(measured)
    table["seconds"] = [_seconds(run / notebook.name) for run in folders]
    table["folder"] = [str(run) for run in folders]
    table["error"] = [errors.get(run) for run in folders]
    place = results(notebook, grid, folder)
    place.mkdir(exist_ok=True)
    table.to_csv(place / TABLE, index=False)
    if swept and len(measured.columns):
        (place / FIGURE).write_bytes(figures.png(draw(table, swept, list(measured))))
    return table


def _check(notebook, grid):
    try:
        declared = papermill.inspect_notebook(notebook)
    except (OSError, ValueError) as error:
        raise ParameterError(f"The notebook {notebook} cannot be read: {error}") from error
    if declared.pop("output", None) is None:
        raise ParameterError(f"{notebook} has no parameter output, the folder that it writes to.")
    problems = [f"{name} is unknown" for name in grid if name not in declared]
    problems += [f"{name} has no value" for name, values in grid.items() if not values]
    if problems:
        raise ParameterError(
            f"Wrong parameters: {'; '.join(problems)}. There are {', '.join(declared)}."
        )


def _check_workers(client):
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not any(RESOURCES.keys() <= worker["resources"].keys() for worker in workers):
        raise ClusterError(
            "No worker of the cluster takes runs. Start one for each GPU: "
            'dask worker ADDRESS --resources "training=1"'
        )


def _hash(notebook, parameters):
    content = json.dumps([notebook.name, parameters], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _run_folder(notebook, parameters, folder):
    return Path(folder) / _hash(notebook, parameters)


def results(notebook: str | Path, grid: dict[str, list], folder: str | Path = "runs") -> Path:
    """Return the folder of the table and the figure of a sweep."""
    return Path(folder) / f"sweep_{_hash(Path(notebook), grid)}"


def _execute(run, task):
    """Execute a notebook in a run's folder, on a worker."""
    notebook, parameters = task
    (run / PARAMETERS).write_text(json.dumps(parameters, indent=1), encoding="utf-8")
    papermill.execute_notebook(
        notebook,
        run / notebook.name,
        {**parameters, "output": str(run)},
        kernel_name="python3",
        progress_bar=False,
        cwd=ROOT,
    )


def _metrics(run):
    path = run / METRICS
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def _seconds(executed):
    """Return how long papermill took, or None if it was interrupted."""
    with suppress(OSError, ValueError):
        return json.loads(executed.read_text(encoding="utf-8"))["metadata"]["papermill"]["duration"]


def draw(table: pd.DataFrame, swept: list[str], metrics: list[str]) -> Figure:
    """Draw each metric against the parameters: the first along the axis, the second by colour.

    Over further parameters it draws the mean, with bars from the least to the largest.

    Args:
        table: as `sweep` returns it.
        swept: columns that are parameters.
        metrics: columns to draw, a panel each.
    """
    x, *others = swept
    hue = others.pop(0) if others else None
    shown = table.assign(**{name: table[name].map(str) for name in swept})
    grid = sns.relplot(
        shown.melt(swept, metrics, "metric"),
        kind="line",
        x=x,
        y="value",
        hue=hue,
        style=hue,
        col="metric",
        col_wrap=min(3, len(metrics)),
        facet_kws={"sharey": False},
        markers=True,
        marker="o",
        markersize=8,
        errorbar=("pi", 100),
        err_style="bars",
        height=figures.WIDTH / 3,
    )
    grid.set_titles("{col_name}")
    grid.set_ylabels(f"mean and range over\n{', '.join(others)}" if others else "")
    plt.close(grid.figure)
    return grid.figure


def main() -> None:
    """Run a sweep from the shell and print its table."""
    parser = argparse.ArgumentParser(
        prog="python -m skin_cancer.scale.sweep", description=__doc__.split("\n")[0]
    )
    parser.add_argument("notebook", nargs="?", default="notebooks/03_training.ipynb")
    parser.add_argument(
        "-p",
        dest="parameters",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a parameter of the notebook and its values; can be repeated",
    )
    parser.add_argument("--output", default="runs", help="folder for all runs")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", default=1, type=runs.jobs, help="runs at a time on this machine")
    where.add_argument("--scheduler", default="", help="address of a running Dask cluster")
    given = parser.parse_args()
    grid: dict[str, list] = {}
    for name, *values in given.parameters:
        grid.setdefault(name, []).extend(map(_value, values))
    try:
        with cluster(given.jobs, given.scheduler) as client:
            print(f"Dashboard: {client.dashboard_link}", flush=True)
            table = sweep(given.notebook, grid, client, given.output)
    except SkinCancerError as error:
        raise SystemExit(str(error)) from error
    place = results(given.notebook, grid, given.output)
    print(table.to_string(index=False, na_rep=""))
    print(*sorted(place.iterdir()), sep="\n")


def _value(text):
    """Return True, False, None, a number, or else the text, much as papermill reads it."""
    if text in WORDS:
        return WORDS[text]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


if __name__ == "__main__":
    main()
