"""What several tests share; the environment is set before anything loads TensorFlow."""

import os

os.environ |= {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # `make test` runs one process a core.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    **os.environ,
}

import importlib
import io
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest
from pictures import encoded, lesion, write_ham10000, write_isic2019, write_milk10k

from skin_cancer.data import dataset
from skin_cancer.data.archives import HAM10000, ISIC_2019_TRAINING, MILK10K
from skin_cancer.diagnoses import BY_CODE

ROOT = Path(__file__).resolve().parent.parent
# What takes a minute or more, so that at the end there is little left to wait for.
LONGEST = (
    "test_recipes.py",
    "test_notebooks.py",
    "test_train.py",
    "test_page.py",
    "06_benchmarks.ipynb",
    "04_evaluation.ipynb",
    "test_attacks.py",
    "test_fuzz.py",
    "05_explainability.ipynb",
    "03_training.ipynb",
    "test_benchmarks.py",
)
# Before a command: root may then read and write no more than the permissions say.
DROP = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
UNPRIVILEGED = DROP if os.geteuid() == 0 else []


def pytest_addoption(parser):
    parser.addoption("--stress", action="store_true", help="as long as make stress")


def pytest_collection_modifyitems(items):
    """Begin with the longest files: each is run by one worker, in its order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


class Tally:
    """How often something was tried and how often it held, by what it is."""

    def __init__(self):
        self.counts = {}

    @contextmanager
    def __call__(self, what):
        """Count what is done inside as tried, and as held if it raises nothing."""
        self.count(what, 1, 0)
        yield
        self.count(what, 0, 1)

    def count(self, what, tried, held):
        before = self.counts.get(what, (0, 0))
        self.counts[what] = before[0] + tried, before[1] + held


TALLY = Tally()


def pytest_terminal_summary(terminalreporter):
    if not TALLY.counts:
        return
    terminalreporter.section("tried, held, lost")
    for what, (tried, held) in TALLY.counts.items():
        terminalreporter.line(f"{what:<55} {tried:>6} {held:>6} {tried - held:>6}")


@pytest.fixture(scope="session")
def stress(pytestconfig):
    """Whether everything is tried as often as by `make stress`."""
    return pytestconfig.getoption("--stress")


@pytest.fixture(scope="session")
def tally():
    """Count for the summary: `with tally("what is tried"): ...`."""
    return TALLY


@pytest.fixture(scope="session")
def ham10000(tmp_path_factory):
    """A synthetic dataset in the layout of HAM10000."""
    folder = tmp_path_factory.mktemp("ham10000")
    write_ham10000(folder)
    return folder


@pytest.fixture(autouse=True)
def no_diagnoses_of_others():
    """Forget what a test makes known beside our diagnoses."""
    ours = dict(BY_CODE)
    yield
    BY_CODE.clear()
    BY_CODE.update(ours)


@pytest.fixture(scope="session")
def sample():
    """The folder of the synthetic sample."""
    return dataset.data_folder("sample")


@pytest.fixture(scope="session")
def picture():
    """The bytes of a JPEG of a synthetic lesion."""
    return encoded(lesion())


def shell(module, *arguments, **environment):
    """Run a module of the package as from the shell and return the finished process."""
    return subprocess.run(
        [sys.executable, "-m", f"skin_cancer.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def call(module, *arguments, **environment):
    """Run the `main` of a module of the package as `shell` would, but in this process."""
    main = importlib.import_module(f"skin_cancer.{module}").main
    output, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", [module, *arguments]),
        mock.patch.dict(os.environ, environment),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        code = _exit_code(main)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def _exit_code(main):
    """Call it and return what the shell would see, printing the last words as Python does."""
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, str):
            return end.code
        print(end.code, file=sys.stderr)
        return 1
    return 0


@pytest.fixture(scope="session")
def tiny_run(ham10000, tmp_path_factory):
    """The output folder of an undisturbed tiny training of two epochs, with its bundle."""
    import tiny  # not at the top: few tests need Keras, and it takes seconds

    output = tmp_path_factory.mktemp("runs") / "tiny"
    done = tiny.train(f"--data={ham10000}", f"--output={output}", "--epochs=2")
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture
def tiny_network():
    """Let `build_network` build a network that trains in no time."""
    import tiny  # as above

    with tiny.backbone():
        yield


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """The folders of synthetic datasets in the layouts of HAM10000, ISIC 2019 and MILK10k."""
    folders = [tmp_path_factory.mktemp(name) for name in ("ham", "isic2019", "milk10k")]
    write_ham10000(folders[0])
    write_isic2019(folders[1], first=1000)
    write_milk10k(folders[2])
    return folders


@pytest.fixture
def real_data():
    """The HAM10000 folder, where there is one."""
    return real_archive(HAM10000)


@pytest.fixture
def real_archives():
    """The folders of HAM10000, ISIC 2019 and MILK10k, where they are."""
    layouts = (HAM10000, ISIC_2019_TRAINING, MILK10K)
    return [real_archive(layout) for layout in layouts]


def real_archive(layout):
    """Return which of the folders that ISIC_DATA_DIR names holds an archive."""
    folders = os.environ.get("ISIC_DATA_DIR", "").split(",")
    for folder in map(Path, filter(None, folders)):
        if (folder / f"{layout.truth}.csv").exists():
            return folder
    return pytest.skip(f"ISIC_DATA_DIR does not name a {layout.name} folder")
