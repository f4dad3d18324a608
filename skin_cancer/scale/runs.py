"""Many runs, each in a folder of its own: none is done twice, and one that fails stops no other."""

import argparse
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask.system import CPU_COUNT
from tqdm.auto import tqdm


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        folder: its own; a run that was interrupted goes on in it.
        last: the file, in that folder, that it writes last.
        task: what is done, as the work takes it.
    """

    folder: Path
    last: str
    task: Any

    @property
    def finished(self) -> bool:
        """Whether it has ended without an error."""
        return (self.folder / self.last).exists()


def run_all(
    runs: Iterable[Run], work: Callable[[Path, Any], None], executor: Executor
) -> dict[Path, str]:
    """Do the runs that are not finished; those that have failed before are tried again.

    Args:
        runs: in the order in which they begin.
        work: does a run, given its folder, which is there, and its task; raises what goes wrong.
        executor: decides how many run at a time, and where.

    Returns:
        What went wrong, in a sentence, by the folder of each run that failed.
    """
    runs = list(runs)
    todo = [run for run in runs if not run.finished]
    futures = {
        executor.submit(_attempt, work, run.folder.resolve(), run.last, run.task): run.folder
        for run in todo
    }
    done = len(runs) - len(todo)
    try:
        for _ in tqdm(as_completed(futures), total=len(runs), initial=done, unit="run"):
            pass
    finally:
        for future in futures:
            future.cancel()  # what has not begun when the user interrupts
    problems = {folder: _problem(future) for future, folder in futures.items()}
    return {folder: problem for folder, problem in problems.items() if problem}


def _attempt(work, folder, last, task):
    """Do a run, maybe in another process or on another machine; return what went wrong, or None."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work(folder, task)
    except Exception as error:  # whatever one run does, the others go on
        (folder / last).unlink(missing_ok=True)
        return _sentence(error)


def _problem(future: Future) -> str | None:
    try:
        return future.result()
    except Exception as error:  # of a worker that died again and again
        return _sentence(error)


def _sentence(error):
    """Return name and first line of an error, of the notebook's own if it is papermill's."""
    name = getattr(error, "ename", type(error).__name__)
    return f"{name}: {getattr(error, 'evalue', error)}".splitlines()[0]


def shared_cores(jobs: int) -> dict[str, str]:
    """Return the environment variables with which so many runs at a time share the cores."""
    threads = str(max(1, CPU_COUNT // jobs))
    return {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads}


def jobs(text: str) -> int:
    """Read from the shell how many runs there are at a time.

    Raises:
        argparse.ArgumentTypeError: it is less than 1.
        ValueError: it is no whole number.
    """
    if int(text) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return int(text)
