"""How the page's server starts, what it says, and what it leaves behind."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from conftest import ROOT, UNPRIVILEGED, call, shell
from server import Server, Visitor, wait_for

from skin_cancer import BundleError
from skin_cancer.app.kernels import VisitorKernels
from skin_cancer.app.serve import PORT
from skin_cancer.images import kinds
from skin_cancer.model import bundle

ADDRESS_LINE = r"The page is at http://localhost:\d+ ; stop it with Ctrl-C\.\n"
PREDICTION_LINE = r"[\d :,-]{23} INFO skin_cancer\.model\.classifier, process \d+: .* ms\n"
HOMES = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
JUPYTER = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")

# For each Python as it starts.
NO_ACCOUNT = """
import pwd

def getpwuid(uid):
    raise KeyError(uid)

pwd.getpwuid = getpwuid
"""
BUSY = """
import contextlib, sys, time
from skin_cancer.app import serve

async def busy(self):
    print("busy", flush=True)
    with contextlib.suppress(BaseException):
        time.sleep(1)

serve.PageServer._say_where = busy
sys.argv.append("--port=auto")
serve.main()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("voila")) as server:
        yield server


@pytest.fixture
def taken():
    """A port that another program listens at."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_the_last_line_is_the_address_and_says_nothing_else(tmp_path, picture):
    with Server(tmp_path) as server:
        assert re.fullmatch(ADDRESS_LINE, server.log.read_text())
        with Visitor(server) as visitor:
            visitor.ask({"event": "ready"})  # as the page does at once
            assert visitor.send_file("lesion.jpg", picture).startswith("lesion.jpg: ")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
        assert re.fullmatch(f"{ADDRESS_LINE}{PREDICTION_LINE}\n", server.log.read_text())
        assert list(server.folder.iterdir()) == []


def test_ctrl_c_is_heard_while_a_kernel_starts_and_the_server_is_at_something(tmp_path):
    """KeyboardInterrupt may be raised anywhere, and be lost in what catches or cannot raise it."""
    log = tmp_path / "log"
    with log.open("w") as output:
        process = psutil.Popen([sys.executable, "-c", BUSY], cwd=ROOT, stdout=output, stderr=output)
    wait_for(lambda: "busy" in log.read_text(), 60)
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(20) == 0
        assert log.read_text() == "busy\n\n"
    finally:
        with suppress(psutil.NoSuchProcess):  # it has ended
            process.terminate()


def test_the_help_names_the_formats_that_are_read():
    told = " ".join(call("app.serve", "--help").stdout.split())
    assert f"reads {kinds.FORMATS} files" in told
    assert len(re.split(r", | or ", kinds.FORMATS)) == len(kinds.READ)


def test_a_port_in_use_is_said_in_a_sentence(taken):
    done = shell("app.serve", f"--port={taken}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"Port {taken} is in use. ")
    assert done.stderr.count("\n") == 1


def test_with_auto_a_free_port_is_taken(tmp_path):
    listening = psutil.net_connections("tcp4")
    busy = any(each.laddr.port == PORT for each in listening if each.status == psutil.CONN_LISTEN)
    with socket.create_server(("127.0.0.1", 0 if busy else PORT)), Server(tmp_path) as server:
        assert server.port != PORT
        assert urllib.request.urlopen(server.address).status == 200


def test_an_address_that_is_not_of_this_computer_is_said_in_a_sentence():
    done = shell("app.serve", "--ip=203.0.113.1")
    assert done.returncode == 1
    assert done.stderr.startswith("The page cannot be served at 203.0.113.1, port 8866: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(port):
    done = call("app.serve", f"--port={port}")
    assert done.returncode == 2
    assert "is neither a number from 1 to 65535 nor auto" in done.stderr


def test_a_wrong_bundle_fails_before_anything_is_served(tmp_path):
    with pytest.raises(BundleError) as error:
        bundle.read(tmp_path)
    for options, environment in (
        ([f"--bundle={tmp_path}"], {}),
        ([], {bundle.BUNDLE_VARIABLE: str(tmp_path)}),
    ):
        done = call("app.serve", "--port=auto", *options, **environment)
        assert done.returncode == 1
        assert (done.stdout, done.stderr) == ("", f"{error.value}\n")


def test_another_bundle_answers(tmp_path, picture):
    with (
        Server(tmp_path, f"--bundle={bundle.MEASURED_BUNDLE}") as server,
        Visitor(server) as visitor,
    ):
        visitor.send_file("lesion.jpg", picture)
        assert f"{bundle.read(bundle.MEASURED_BUNDLE).name}: " in server.log.read_text()


def test_a_home_that_cannot_be_written_is_left_alone(tmp_path, picture):
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    elsewhere = {name: str(home) for name in HOMES} | {
        name: str(home / "jupyter") for name in JUPYTER
    }
    with (
        Server(tmp_path, before=UNPRIVILEGED, **elsewhere) as server,
        Visitor(server) as visitor,
    ):
        visitor.ask({"event": "ready"})
        assert visitor.send_file("lesion.jpg", picture).startswith("lesion.jpg: ")
        assert re.fullmatch(ADDRESS_LINE + PREDICTION_LINE, server.log.read_text())


def test_without_a_home_or_an_account_that_names_one_the_page_answers(tmp_path, picture):
    """As a service or a container's user has it: no HOME, and an id that no account has."""
    (tmp_path / "sitecustomize.py").write_text(NO_ACCOUNT)
    places = filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])
    nobody = {"PYTHONPATH": os.pathsep.join(places), "LC_ALL": "C"}
    with (
        Server(tmp_path, before=["env", "--unset=HOME"], **nobody) as server,
        Visitor(server) as visitor,
    ):
        visitor.ask({"event": "ready"})
        assert visitor.send_file("lesion.jpg", picture).startswith("lesion.jpg: ")
        assert re.fullmatch(ADDRESS_LINE + PREDICTION_LINE, server.log.read_text())


def test_no_place_for_temporary_files_is_said_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    done = call("app.serve", "--port=auto")
    assert done.returncode == 1
    assert done.stderr.startswith("The page needs a temporary folder: No such file or directory. ")
    assert done.stderr.count("\n") == 1


def test_make_takes_another_home_only_where_it_cannot_be_written(tmp_path):
    show = ["make", "--no-print-directory", '--eval=home:; @printf %s "$$HOME"', "home"]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    for home, taken in ((tmp_path, tmp_path), (closed, ROOT / "runs" / "home")):
        environment = {**os.environ, "HOME": str(home)}
        found = subprocess.check_output([*UNPRIVILEGED, *show], cwd=ROOT, env=environment)
        assert found.decode() == str(taken)


@pytest.mark.parametrize("jump", [3600, -3600])
def test_no_kernel_ends_because_the_clock_was_set(monkeypatch, jump):
    now = datetime.now(UTC)
    kernel = SimpleNamespace(execution_state="idle", kernel_name="python3")
    kernel.last_activity = now - timedelta(seconds=abs(jump))
    kernels = VisitorKernels(cull_idle_timeout=300)
    kernels._pools, ended = {}, []
    kernel.kernel_spec = SimpleNamespace(metadata={})
    monkeypatch.setattr(VisitorKernels, "shutdown_kernel", lambda _, key, **__: ended.append(key))
    with monkeypatch.context() as before:
        before.setattr("time.time", lambda: now.timestamp() - jump)
        asyncio.run(kernels.cull_kernels())
    kernels._kernels["visitor"] = kernel
    asyncio.run(kernels.cull_kernels())
    assert not ended
    kernel.last_activity = now - timedelta(seconds=301)
    asyncio.run(kernels.cull_kernels())
    assert ended == ["visitor"]


def test_nothing_is_written_but_to_the_temporary_folder(tmp_path, picture):
    home = tmp_path / "home"
    home.mkdir()
    elsewhere = {name: str(home) for name in HOMES} | {
        name: str(home / "jupyter") for name in JUPYTER
    }
    with Server(tmp_path, **elsewhere) as server, Visitor(server) as visitor:
        visitor.send_file("lesion.jpg", picture)
    assert list(home.iterdir()) == []
    assert list(server.folder.iterdir()) == []


def test_on_a_network_who_can_open_the_page_is_said_before_the_address(tmp_path):
    with Server(tmp_path, "--ip=0.0.0.0") as server:
        warning, address = server.log.read_text().splitlines(keepends=True)
    assert warning == ("Anyone on this network can open the page, and images travel unencrypted.\n")
    assert re.fullmatch(ADDRESS_LINE, address)


def head(address):
    return urllib.request.Request(address, method="HEAD")


def test_a_question_whether_the_page_is_there_starts_no_kernel(server):
    before = server.waiting()
    with urllib.request.urlopen(head(server.address), timeout=20) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(head(f"{server.address}/nowhere"), timeout=20)
    assert server.waiting() == before


def test_plain_voila_serves_the_page_too(tmp_path, taken):
    voila = Path(sys.executable).with_name("voila")
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [voila, "app.ipynb", "--no-browser", f"--port={taken}"],  # Voila looks for another
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: "is running at" in log.read_text(), 60)
        address = re.search(r"http://localhost:\d+", log.read_text()).group()
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert "Starting the classifier" in answer.read().decode()
    finally:
        process.terminate()
        process.wait(20)


def test_the_server_loads_nothing_heavy():
    heavy = {"tensorflow", "keras", "pandas", "matplotlib", "cv2", "ai_edge_litert"}
    code = f"import sys, skin_cancer.app.serve; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("user", "allowed"), [("0", True), ("1000", False)])
def test_lab_starts_as_root_and_only_root_needs_to_be_allowed(tmp_path, user, allowed):
    fake = tmp_path / "id"
    fake.write_text(f"#!/bin/sh\necho {user}\n")
    fake.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["make", "--dry-run", "lab"],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("--allow-root" in done.stdout) == allowed
