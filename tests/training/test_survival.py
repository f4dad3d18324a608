"""Training that is killed again and again, or finds no room on the disk, loses nothing."""

import random
import shutil
import subprocess
import time

import numpy as np
import pytest
import tiny
from conftest import ROOT
from tiny import checkpoint

from skin_cancer import BundleError
from skin_cancer.model import bundle
from skin_cancer.training.config import CHECKPOINT

pytestmark = pytest.mark.slow
MB = 1 << 20
# A small disk of its own, which is gone with the processes that see it.
SMALL_DISK = "mount -t tmpfs -o size={size} tmpfs {folder} && "
APART = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def command(data, output):
    """The same training as `tiny_run`."""
    return [*tiny.COMMAND, *tiny.OPTIONS, f"--data={data}", f"--output={output}", "--epochs=2"]


def finish(data, output):
    done = subprocess.run(command(data, output), cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def is_whole_or_absent(folder):
    """Whether there is a bundle that can be read, or what is there is known to be none."""
    try:
        bundle.read(folder)
    except BundleError:
        return not folder.exists()
    return True


def assert_same_end(ours, theirs):
    pairs = zip(checkpoint(ours)[0], checkpoint(theirs)[0], strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    for name in bundle.GRAPHS.values():
        assert (ours / "bundle" / name).read_bytes() == (theirs / "bundle" / name).read_bytes()


def test_killed_again_and_again_ends_with_the_same_weights(
    ham10000, tiny_run, tmp_path, stress, tally
):
    """At random steps, between them and while the bundle is written; a finished one begins anew."""
    start = time.monotonic()
    finish(ham10000, tmp_path / "timed")
    seconds, moments = time.monotonic() - start, random.Random(5)
    output = tmp_path / "killed"
    kills = 0
    while kills < (10 if stress else 3):
        run = subprocess.Popen(command(ham10000, output), cwd=ROOT, stderr=subprocess.PIPE)
        try:
            _, errors = run.communicate(timeout=moments.uniform(0.3, 1) * seconds)
            assert run.returncode == 0, errors
            assert_same_end(output, tiny_run)
            shutil.rmtree(output)
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
            kills += 1
            with tally("trainings killed at a random moment"):
                assert is_whole_or_absent(output / "bundle")
                if (output / CHECKPOINT).exists():
                    assert checkpoint(output)[1]["history"]
    finish(ham10000, output)
    assert_same_end(output, tiny_run)
    assert not [path for path in output.iterdir() if path.name.startswith("bundle.")]


def test_a_disk_that_fills_up(ham10000, tiny_run, tmp_path, tally):
    """There is room for one checkpoint, and not for the next beside it."""
    small, saved = tmp_path / "small", tmp_path / "saved"
    small.mkdir()
    room = int(1.5 * (tiny_run / CHECKPOINT).stat().st_size)
    mount = SMALL_DISK.format(size=room, folder=small)
    if subprocess.run([*APART, mount + "true"], capture_output=True, check=False).returncode:
        pytest.skip("nobody may mount a small disk here")
    training = " ".join(command(ham10000, small))
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
        finish(ham10000, tmp_path / "larger")
        assert_same_end(tmp_path / "larger", tiny_run)
