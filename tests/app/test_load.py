"""Many visitors at once, and many one after the other: every answer right, nothing left behind."""

from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from pictures import encoded, lesion
from server import Server, Visitor, wait_for

from skin_cancer import Classifier
from skin_cancer.app.answer import headline
from skin_cancer.app.reading import Reading, opinion

pytestmark = pytest.mark.stress
MB = 1e6


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path) as server:
        yield server


def expected(classifier, name, picture):
    """What the page must say of a picture in the setting that it starts with."""
    reading = Reading.of(classifier, name, picture)
    return f"{name}: {headline(opinion(reading, classifier))}"


def test_visitors_at_once_get_every_answer_and_only_their_own(server, stress, tally):
    visitors, uploads = (20, 10) if stress else (4, 3)
    classifier = Classifier.load()
    files = {
        visitor: {
            f"visitor {visitor}, picture {n}.jpg": encoded(lesion(seed=100 * visitor + n))
            for n in range(uploads)
        }
        for visitor in range(visitors)
    }
    right = {n: expected(classifier, n, data) for own in files.values() for n, data in own.items()}

    def comes(number):
        with Visitor(server, timeout=300) as visitor:
            found = {name: visitor.send_file(name, data) for name, data in files[number].items()}
            rows = visitor.states[visitor.find("rows")]["rows"]
            return found, [row["name"] for row in rows]

    before = memory(server)
    with ThreadPoolExecutor(visitors) as pool:
        answers = list(pool.map(comes, range(visitors)))
    for number, (found, names) in enumerate(answers):
        assert sorted(names) == sorted(files[number])
        for name, said in found.items():
            with tally("uploads of visitors at once"):
                assert said.startswith(right[name])
    wait_for(lambda: len(server.kernels()) == 1, 60)
    assert memory(server) < before + 150 * MB


def memory(server):
    """Bytes of the server and all kernels, once one waits for the next visitor."""
    waiting = server.waiting()
    wait_for(lambda: waiting.cpu_percent(0.5) < 20)
    return sum(each.memory_info().rss for each in (server.process, waiting))


def held(server):
    """What could pile up: processes, open files and connections, threads, and bytes of memory."""
    server.waiting()
    process = server.process
    return {
        "processes": len(process.children(recursive=True)),
        "files": process.num_fds(),
        "threads": process.num_threads(),
        "megabytes": process.memory_info().rss / MB,
    }


def test_page_loads_one_after_the_other_leave_nothing_behind(server, stress, tally):
    """After the first few dozens, in which the server fills its caches.

    ZeroMQ's own files and threads, a dozen and three, come and go with Python's garbage.
    """
    for _ in range(50 if stress else 3):
        Visitor(server).close()
    before = held(server)
    for _ in range(200 if stress else 5):
        with tally("page loads in a row"), Visitor(server) as visitor:
            assert visitor.answers()
    after = held(server)
    assert after["processes"] <= before["processes"]
    assert after["files"] <= before["files"] + 18
    assert after["threads"] <= before["threads"] + 4
    assert after["megabytes"] <= before["megabytes"] + 15


def test_a_kernel_killed_in_the_middle_of_an_upload_disturbs_no_other_visitor(server, tally):
    with Visitor(server) as other:
        mine = Visitor(server)
        [kernel] = [k for k in server.kernels() if any(mine.kernel in a for a in k.cmdline())]
        picture = encoded(lesion(2000, 1500))
        description = {"name": "large.jpg", "size": len(picture), "offset": 0}
        description |= {"batch": 1, "left": 0}
        with tally("kernels killed in the middle of an upload"):
            assert mine.ask(description, picture[:1000])
            kernel.kill()
            said = other.send_file("mine.jpg", picture)
            assert said.startswith(expected(Classifier.load(), "mine.jpg", picture))
            with Visitor(server) as next_one:
                assert next_one.send_file("mine.jpg", picture) == said
        mine.socket.close()
    assert psutil.pid_exists(server.process.pid)
