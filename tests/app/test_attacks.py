"""What a stranger may try on the page's server, and what must come of it."""

import http.client
import itertools
import json
import urllib.parse

import pytest
import websocket
from conftest import ROOT
from jupyter_server.services.kernels.connection.base import serialize_msg_to_ws_v1
from pictures import encoded, lesion
from server import PARTS, Server, Visitor, wait_for

from skin_cancer import Classifier
from skin_cancer.app.kernels import PROTOCOL
from skin_cancer.diagnoses import BY_CODE

pytestmark = pytest.mark.stress

PRIVATE = (
    "README.md",
    "Makefile",
    "app.ipynb",
    "voila.json",
    "environment.yml",
    "locks/app.txt",
    "models/isic_lite0/model.tflite",
    "models/isic_lite0/bundle.json",
    "notebooks/01_data_exploration.ipynb",
    "skin_cancer/model/classifier.py",
    "skin_cancer/app/page.css",
    ".git/config",
)
PREFIXES = (
    "/",
    "/files/",
    "/voila/files/",
    "/voila/render/",
    "/voila/static/",
    "/voila/static/../",
    "/voila/templates/",
    "/voila/templates/lab/static/",
    "/voila/templates/lab/static/../../../",
    "/voila/templates/../static/",
    "/voila/labextensions/",
    "/voila/api/themes/",
    "/voila/tree/",
    "/voila/api/contents/",
    "/api/contents/",
    "/static/",
    "/nbconvert/html/",
    "/edit/",
    "/tree/",
    "/lab/tree/",
)
LISTINGS = (
    "/api/kernels",
    "/api/kernels/",
    "/api/sessions",
    "/api/contents",
    "/api/terminals",
    "/api/status",
    "/api/kernelspecs",
    "/api/config/x",
    "/voila/tree",
    "/voila/api/contents",
    "/metrics",
)
BEGUN = {"offset": 0, "batch": 1, "left": 0}
VALUES = (None, True, -1, 10**30, 1.5, "", "x" * 100_000, "IPY_MODEL_none", [], [[]], {}, {"a": []})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("voila")) as server:
        yield server


@pytest.fixture(scope="module")
def visitor(server):
    """One who tries all that must change nothing."""
    with Visitor(server) as visitor:
        yield visitor


@pytest.fixture
def spoilt(server):
    """One whose kernel is not to be used again."""
    with Visitor(server) as visitor:
        yield visitor


def ask(server, path, method="GET", headers=(), body=None):
    """Ask for a path as it is written, which a browser would tidy: status, headers, text."""
    connection = http.client.HTTPConnection("localhost", server.port, timeout=60)
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, answer.headers, text


def follow(server, path):
    """Ask for a path and for where it is redirected to: the last text that is not an error."""
    status, headers, text = ask(server, path)
    for _ in range(5):
        if status not in (301, 302, 307, 308):
            break
        target = urllib.parse.urlsplit(headers["Location"])
        assert target.netloc in ("", f"localhost:{server.port}"), path
        status, headers, text = ask(server, target.path or "/")
    return text if status == 200 else ""


def reads_pictures(visitor, seed=7):
    """Assert that a visitor still gets the right answer."""
    picture = encoded(lesion(seed=seed))
    said = visitor.send_file("after.jpg", picture)
    assert said.startswith("after.jpg: ")
    assert BY_CODE[Classifier.load().predict(picture).diagnosis].name in said


@pytest.mark.parametrize("prefix", PREFIXES)
def test_no_file_of_the_tree_is_served(server, prefix, tally):
    for path in PRIVATE:
        content = ROOT.joinpath(path).read_bytes()[:200] if (ROOT / path).is_file() else b"[core]"
        mark = content.decode(errors="replace")
        written = {path, f"../{path}", f"%2e%2e/{path}", f"..%2f{path}", f"..\\{path}", f"/{path}"}
        written.add(f"..%252f{path}")
        for form in written:
            with tally("paths of files, asked of the server"):
                text = follow(server, prefix + form)
                assert mark not in text
                assert "/" + str(ROOT).strip("/") not in text


@pytest.mark.parametrize("path", LISTINGS)
def test_nothing_is_listed(server, visitor, path, tally):
    with tally("listings and interfaces, asked of the server"):
        text = follow(server, path)
        assert visitor.kernel not in text
        assert not text.startswith(("{", "["))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/api/kernels", "/api/contents/x.ipynb", "/api/terminals"])
def test_nothing_is_made_or_changed(server, method, path, tally):
    with tally("requests to make, change or delete"):
        status, _, _ = ask(server, path, method, body="{}")
        assert 400 <= status < 500
        assert not (ROOT / "x.ipynb").exists()


@pytest.mark.parametrize(
    "message",
    [
        ("execute_request", {"code": "open('stolen', 'w')", "silent": False}),
        ("complete_request", {"code": "import o", "cursor_pos": 8}),
        ("inspect_request", {"code": "page", "cursor_pos": 4, "detail_level": 1}),
        ("history_request", {"hist_access_type": "tail", "n": 100, "output": True, "raw": True}),
        ("is_complete_request", {"code": "1"}),
        ("debug_request", {"type": "request", "command": "initialize", "seq": 1}),
        ("create_subshell_request", {}),
        ("interrupt_request", {}),
        ("input_reply", {"value": "x"}),
        ("usage_request", {}),
        ("nonsense", {}),
    ],
    ids=lambda message: message[0],
)
@pytest.mark.parametrize("channel", ["shell", "control", "stdin"])
def test_other_message_types_are_refused(visitor, message, channel, tally):
    kind, content = message
    sent = visitor.session.msg(kind, content)
    with tally("forbidden message types on the websocket"):
        visitor.send(sent, channel)
        number = sent["header"]["msg_id"]
        replies = visitor.replies_to(number)
        assert replies == []
    assert not (ROOT / "stolen").exists()


@pytest.mark.parametrize(
    "kinds", [("comm_msg", "execute_request"), ("execute_request", "comm_msg")]
)
def test_a_type_that_the_header_hides_is_refused(visitor, kinds, tally):
    """The server's filter and the kernel must read the same type of a header with two."""
    sent = visitor.session.msg("execute_request", {"code": "1 + 1", "silent": False})
    parts = [visitor.session.pack(sent[name]) for name in PARTS]
    first, second = (f'"msg_type": "{kind}"'.encode() for kind in kinds)
    assert b'"msg_type": "execute_request"' in parts[0]
    parts[0] = parts[0].replace(b'"msg_type": "execute_request"', first + b"," + second)
    with tally("forbidden message types on the websocket"):
        visitor.socket.send_binary(serialize_msg_to_ws_v1(parts, "shell"))
        assert "execute_reply" not in visitor.replies_to(sent["header"]["msg_id"])


def offsets(*numbers):
    return b"".join(number.to_bytes(8, "little") for number in numbers)


MALFORMED = {
    "empty": b"",
    "endless": b"\xff" * 8,
    "endless, with offsets": b"\xff" * 100,
    "far away": offsets(6, *[2**63] * 6),
    "backwards": offsets(6, 56, 55, 54, 53, 52, 51),
    "too few parts": offsets(3, 32, 32, 32),
    "no channel": offsets(6, *[56] * 6),
    "empty parts": offsets(6, 56, 61, 61, 61, 61, 61) + b"shell",
    "no objects": offsets(6, 56, 61, 62, 63, 64, 65) + b"shell1234",
    "text": "{}",
    "older protocol": '{"channel": "shell"}',
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
def test_a_message_that_is_none_keeps_nobody_waiting(server, message, tally):
    """Jupyter reads as many offsets as the first eight bytes say."""
    with Visitor(server) as visitor, Visitor(server) as other, tally("malformed messages"):
        binary = isinstance(message, bytes)
        (visitor.socket.send_binary if binary else visitor.socket.send)(message)
        assert other.answers()


def test_another_protocol_than_the_pages_is_refused(server, visitor, tally):
    """What a kernel says in the older one, Voila reads as if it were this one, and never ends."""
    for protocols in (None, ["nonsense"]):
        with (
            tally("other protocols on the websocket"),
            pytest.raises(websocket.WebSocketBadStatusException, match="400"),
        ):
            websocket.create_connection(
                f"{server.address.replace('http', 'ws')}/api/kernels/{visitor.kernel}/channels",
                origin=server.address,
                subprotocols=protocols,
            )
    assert visitor.answers()


@pytest.mark.parametrize("query", ["template=lab", "template=../../etc", "theme=dark", "theme=<b>"])
def test_neither_template_nor_theme_can_be_chosen(server, query, tally):
    with tally("template and theme overrides"):
        status, _, text = ask(server, f"/?{query}")
        assert status == 200
        assert "Starting the classifier" in text
        assert "<b>" not in text
        assert 'data-jp-theme-light="false"' not in text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1"])
def test_a_foreign_origin_reaches_no_kernel(server, visitor, origin, tally):
    address = f"{server.address.replace('http', 'ws')}/api/kernels/{visitor.kernel}"
    with tally("requests of foreign origin"), pytest.raises(websocket.WebSocketBadStatusException):
        websocket.create_connection(
            f"{address}/channels", origin=origin, subprotocols=[PROTOCOL], timeout=20
        )
    for method, path in (
        ("POST", f"/voila/api/shutdown/{visitor.kernel}"),
        ("DELETE", f"/api/kernels/{visitor.kernel}"),
    ):
        with tally("requests of foreign origin"):
            status, headers, _ = ask(server, path, method, {"Origin": origin})
            assert 400 <= status < 500
            assert "Access-Control-Allow-Origin" not in headers
    assert visitor.answers()


@pytest.mark.parametrize("kernel", ["0" * 8 + "-0000-4000-8000-" + "0" * 12, "x", "..", "*", ""])
def test_without_a_kernels_id_nothing_is_done(server, visitor, kernel, tally):
    for method, path in (
        ("POST", f"/voila/api/shutdown/{kernel}"),
        ("DELETE", f"/api/kernels/{kernel}"),
        ("GET", f"/api/kernels/{kernel}"),
        ("GET", f"/api/kernels/{kernel}/channels"),
        ("GET", f"/voila/query/{kernel}"),
    ):
        with tally("requests without a kernel's id"):
            status, _, text = ask(server, path, method, {"Origin": "https://evil.example"})
            assert 400 <= status < 500 or (status in (301, 302) and not text)
    assert visitor.answers()


@pytest.mark.parametrize(
    "path",
    ["/", "/nowhere", "/voila/nowhere", "/api/kernels/x", "/voila/render/README.md"],
)
def test_headers_that_keep_the_page_to_itself(server, path, tally):
    with tally("responses with all protecting headers"):
        _, headers, text = ask(server, path)
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "object-src 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Traceback" not in text
        assert "site-packages" not in text


def test_widget_messages_of_any_kind_leave_the_kernel_answering(spoilt, stress, tally):
    one_after_the_other = itertools.cycle(VALUES)
    kinds = {tuple(state): widget for widget, state in spoilt.states.items()}
    for widget in list(spoilt.states) if stress else kinds.values():
        for trait in [*spoilt.states[widget], "nonsense"]:
            for value in VALUES if stress else [next(one_after_the_other)]:
                with tally("widget traits set to a wrong value"):
                    spoilt.send(spoilt.comm(widget, {"method": "update", "state": {trait: value}}))
        assert spoilt.answers()


def test_a_page_whose_messages_were_nonsense_still_reads_pictures(spoilt, tally):
    wrong = [
        *({"method": method} for method in ("", "backbone", "request_state", "custom", None, 7)),
        *({"method": "custom", "content": value} for value in VALUES),
        *({"method": "update", "state": value} for value in VALUES),
        *(
            {
                "method": "custom",
                "content": {"name": name, "size": size, "offset": 0, "batch": 1, "left": 0},
            }
            for name in (None, [], "x")
            for size in (-1, 10**30, "x", None)
        ),
    ]
    for data in wrong:
        with tally("widget messages that no page sends"):
            spoilt.send(spoilt.comm(spoilt.upload, data, [b"x"]))
    for target in ("jupyter.widget", "jupyter.widget.control", "nonsense"):
        for value in VALUES:
            opened = spoilt.session.msg("comm_open", {"comm_id": f"{target}{value!r}"[:50]})
            opened["content"] |= {"target_name": target, "data": value}
            with tally("comms that no page opens"):
                spoilt.send(opened)
    assert spoilt.answers()
    reads_pictures(spoilt)


def test_a_message_of_100_mb_ends_the_connection_and_nothing_else(server, tally):
    with Visitor(server) as visitor:
        large = visitor.comm(visitor.upload, {"method": "custom", "content": {}}, [bytes(10**8)])
        with tally("messages of 100 MB"):
            try:
                visitor.send(large)
                visitor.answers()
            except (websocket.WebSocketException, OSError):
                visitor.connect()
            assert visitor.answers()
            reads_pictures(visitor)


def test_what_goes_wrong_is_told_to_the_log_and_not_to_the_visitor(server, spoilt):
    """A trait's wrong value raises in the kernel: no source and no path of it comes back."""
    heard = []
    settings = spoilt.find("description", description="Prevalence")
    wrong = {"method": "update", "state": {"index": "x"}}
    spoilt.send(spoilt.comm(settings, wrong))
    request = spoilt.session.msg("kernel_info_request")
    spoilt.send(request)
    number = request["header"]["msg_id"]
    spoilt.until(
        lambda message: heard.append(message) or message["parent_header"].get("msg_id") == number
    )
    told = json.dumps(heard, default=str)
    assert "Traceback" not in told
    assert "site-packages" not in told
    wait_for(lambda: "TraitError" in server.log.read_text())


def test_only_this_machine_is_served_unless_told_otherwise(server):
    connections = [c for c in server.process.net_connections() if c.status == "LISTEN"]
    assert {c.laddr.ip for c in connections if c.laddr.port == server.port} <= {"127.0.0.1", "::1"}
    for kernel in server.kernels():
        for connection in kernel.net_connections():
            assert connection.laddr.ip in ("127.0.0.1", "::1")
