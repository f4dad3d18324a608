"""A folder that results are written to: one run at a time."""

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
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise error(
                f"Another run is writing to {folder}. Wait for it, or name another output folder."
            ) from taken
        except OSError:
            pass
        yield
