"""Training that is killed again and again, or finds no room on the disk, loses nothing."""

import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, TINY, shell
from test_training import checkpoint

from skin_cancer import BundleError, bundle
from skin_cancer.training import CHECKPOINT

pytestmark = pytest.mark.stress
EPOCHS = 4
MB = 1 << 20
# A small disk of its own, which is gone with the processes that see it.
SMALL_DISK = "mount -t tmpfs -o size={size} tmpfs {folder} && "
APART = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def options(data, output):
    return [f"--data={data}", f"--output={output}", f"--epochs={EPOCHS}", *TINY]


@pytest.fixture(scope="module")
def undisturbed(ham10000, tmp_path_factory):
    """The output folder of a training that nobody disturbs, and the seconds that it took."""
    output, start = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    done = shell("training", *options(ham10000, output))
    assert done.returncode == 0, done.stderr
    return output, time.monotonic() - start


def is_whole_or_absent(folder):
    """Whether there is a bundle that can be read, or what is there is known to be none."""
    try:
        bundle.read(folder)
    except BundleError:
        return not folder.exists()
    return True


def test_killed_again_and_again_ends_with_the_same_weights(
    ham10000, undisturbed, tmp_path, stress, tally
):
    whole, seconds = undisturbed
    command = [sys.executable, "-m", "skin_cancer.training", *options(ham10000, tmp_path)]
    moments, finished = random.Random(5), False
    for _ in range(10 if stress else 2):
        with tally("trainings killed at a random moment"):
            run = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            try:
                run.wait(moments.uniform(0.2, 1) * seconds)
                finished = True
            except subprocess.TimeoutExpired:
                run.kill()
            assert finished or run.wait() == -9, run.stderr.read()
            run.stderr.close()
            assert is_whole_or_absent(tmp_path / "bundle")
            if (tmp_path / CHECKPOINT).exists():
                assert 1 <= len(checkpoint(tmp_path)[1]["history"]) <= EPOCHS
    done = shell("training", *options(ham10000, tmp_path))
    assert done.returncode == 0, done.stderr
    ours, theirs = checkpoint(tmp_path)[0], checkpoint(whole)[0]
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    for name in bundle.GRAPHS.values():
        assert (tmp_path / "bundle" / name).read_bytes() == (whole / "bundle" / name).read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("bundle.")]


def test_a_disk_that_fills_up(ham10000, undisturbed, tmp_path, tally):
    """There is room for one checkpoint, and not for the next beside it."""
    whole, _ = undisturbed
    small, saved = tmp_path / "small", tmp_path / "saved"
    small.mkdir()
    room = int(1.5 * (whole / CHECKPOINT).stat().st_size)
    mount = SMALL_DISK.format(size=room, folder=small)
    if subprocess.run([*APART, mount + "true"], capture_output=True, check=False).returncode:
        pytest.skip("nobody may mount a small disk here")
    training = " ".join([sys.executable, "-m skin_cancer.training", *options(ham10000, small)])
    with tally("trainings on a disk that fills up"):
        done = subprocess.run(
            [*APART, f"{mount} {{ {training}; code=$?; cp -r {small} {saved}; exit $code; }}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert "disk" in done.stderr.splitlines()[-1], done.stderr
        assert "Traceback" not in done.stderr
        assert len(checkpoint(saved)[1]["history"]) == 1
        shutil.copytree(saved, tmp_path / "larger")
        again = shell("training", *options(ham10000, tmp_path / "larger"))
        assert again.returncode == 0, again.stderr
        ours, theirs = checkpoint(tmp_path / "larger")[0], checkpoint(whole)[0]
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
