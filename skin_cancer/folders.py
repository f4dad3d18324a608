"""A folder that results are written to: one run at a time, alone or in turn."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skin_cancer.errors import SkinCancerError

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


@contextmanager
def alone(folder: str | Path, error: type[SkinCancerError]) -> Iterator[None]:
    """Keep other runs out of a folder for as long.

    The system ends that with the process, whatever ends it. Where the system or its files
    know no such locks, nobody is kept out.

    Args:
        folder: is there, and can be written.
        error: raised where another run is in the folder.

    Raises:
        OSError: the folder cannot be written.
    """
    with (Path(folder) / LOCK).open("a") as file:
        try:
            _lock(file, wait=False)
        except BlockingIOError as taken:
            raise error(
                f"Another run is writing to {folder}. Wait for it, or name another output folder."
            ) from taken
        yield


@contextmanager
def in_turn(folder: str | Path) -> Iterator[None]:
    """Wait until no other run is in a folder, then keep others waiting for as long.

    Args:
        folder: is there, and can be written.

    Raises:
        OSError: the folder cannot be written.
    """
    with (Path(folder) / LOCK).open("a") as file:
        _lock(file, wait=True)
        yield


def _lock(file, wait):
    """Lock an open file where the system and its files know such locks, until it is closed."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        pass
