"""The page's server as `make app` starts it, and visitors who speak its protocol themselves."""

import json
import os
import re
import sys
import time
import urllib.request
from contextlib import suppress

import psutil
import websocket
from conftest import ROOT
from ipywidgets._version import __control_protocol_version__
from jupyter_client.session import Session
from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)

from skin_cancer.app.kernels import PROTOCOL

CHUNK = 1 << 20
ADDRESS = re.compile(r"The page is at (http://localhost:(\d+)) ;")
PARTS = ("header", "parent_header", "metadata", "content")


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


class Server:
    """The page as `make app` serves it.

    Attributes:
        folder: what it may write to.
        log: what it prints.
        process: the running process.
        address, port: of the page.

    Args:
        folder: for `folder`.
        options: further ones of `skin_cancer.app.serve`.
        before: what stands before the command.
        environment: further variables.
    """

    def __init__(self, folder, *options, before=(), **environment):
        self.folder = folder / "written"
        self.folder.mkdir()
        self.log = folder / "log"
        serve = [sys.executable, "-m", "skin_cancer.app.serve", "--port=auto", *options]
        with self.log.open("w") as output:
            self.process = psutil.Popen(
                [*before, *serve],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(self.folder), **environment},
                stdout=output,
                stderr=output,
            )
        wait_for(lambda: ADDRESS.search(self.log.read_text()) or self.process.poll(), 60)
        self.address, port = ADDRESS.search(self.log.read_text()).groups()
        self.port = int(port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(psutil.NoSuchProcess):  # it was ended already
            self.process.terminate()
        self.process.wait(20)

    def kernels(self):
        """The living processes of visitors, and of the one that waits for the next."""
        children = self.process.children(recursive=True)
        alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
        return [child for child in alive if "ipykernel_launcher" in child.cmdline()]

    def waiting(self):
        """The process that the next visitor gets; all visitors of before are gone."""
        wait_for(lambda: len(self.kernels()) == 1, 60)
        return self.kernels()[0]


class Visitor:
    """One who opens the page and sends what the page would, or anything else.

    Attributes:
        kernel: the id of the visitor's kernel.
        states: the state of each widget of the page by its id, as the kernel has told it.
    """

    def __init__(self, server, timeout=60):
        self.address = server.address
        with urllib.request.urlopen(server.address, timeout=timeout) as answer:
            self.kernel = re.search(r'"kernelId": "([^"]+)"', answer.read().decode()).group(1)
        self.session, self.states, self.sent = Session(), {}, 0
        self.timeout = timeout
        self.connect()
        control = {"comm_id": "all", "target_name": "jupyter.widget.control", "data": {}}
        version = {"version": __control_protocol_version__}
        self.send(self.session.msg("comm_open", control, metadata=version))
        self.send(self.comm("all", {"method": "request_states"}))
        self.until(lambda message: message["content"].get("comm_id") == "all")
        self.upload = self.find("limit")

    def connect(self):
        address = self.address.replace("http", "ws")
        self.socket = websocket.create_connection(
            f"{address}/api/kernels/{self.kernel}/channels?session_id={self.session.session}",
            origin=self.address,
            subprotocols=[PROTOCOL],
            timeout=self.timeout,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the tab, whose last word to the server is that its kernel may end."""
        self.socket.close()
        goodbye = f"{self.address}/voila/api/shutdown/{self.kernel}"
        request = urllib.request.Request(goodbye, method="POST")
        with suppress(urllib.error.HTTPError):  # it was idle for long, and has ended already
            urllib.request.urlopen(request, timeout=60).close()

    def find(self, *traits, **values):
        """The id of the one widget with these traits, and these values."""
        found = [
            key
            for key, state in self.states.items()
            if set(traits) <= set(state) and values.items() <= state.items()
        ]
        assert len(found) == 1, found
        return found[0]

    def comm(self, widget, data, buffers=()):
        message = self.session.msg("comm_msg", {"comm_id": widget, "data": data})
        message["buffers"] = list(buffers)
        return message

    def send(self, message, channel="shell"):
        packed = [self.session.pack(message[name]) for name in PARTS] + message.get("buffers", [])
        self.socket.send_binary(serialize_msg_to_ws_v1(packed, channel))

    def until(self, condition):
        """Take messages, and what they say of widgets, up to the first of which this is true."""
        while True:
            _, parts = deserialize_msg_from_ws_v1(self.socket.recv())
            message = {name: json.loads(part) for name, part in zip(PARTS, parts, strict=False)}
            self.take(message)
            if condition(message):
                return message

    def take(self, message):
        data = message["content"].get("data", {})
        if data.get("method") == "update_states":
            self.states |= {key: widget["state"] for key, widget in data["states"].items()}
        elif data.get("method") == "update":
            self.states.setdefault(message["content"]["comm_id"], {}).update(data["state"])

    def ask(self, content, chunk=None):
        """Send a message as the page's upload does and return whether more is wanted."""
        self.sent += 1
        data = {"method": "custom", "content": {**content, "number": self.sent}}
        self.send(self.comm(self.upload, data, [chunk] if chunk else []))

        def answers(message):
            answer = message["content"].get("data", {}).get("content", {})
            return isinstance(answer, dict) and answer.get("answers") == self.sent

        return self.until(answers)["content"]["data"]["content"]["more"]

    def send_file(self, name, content):
        """Send a file alone, as the page does; return what the page then says of its state."""
        batch, offset, more = self.sent + 2, 0, True
        while more:
            chunk = content[offset : offset + CHUNK]
            description = {"name": name, "size": len(content), "offset": offset}
            more = self.ask({**description, "batch": batch, "left": 0}, chunk)
            offset += len(chunk)
        return self.said("status")

    def said(self, role):
        """What the page says aloud in this role: `status` or `alert`."""
        return self.states[self.find(role=role)]["value"]

    def answers(self):
        """Whether the kernel answers."""
        request = self.session.msg("kernel_info_request")
        self.send(request)
        number = request["header"]["msg_id"]
        reply = self.until(lambda message: message["parent_header"].get("msg_id") == number)
        return reply["content"] is not None

    def replies_to(self, number):
        """The types of all messages that answer one, up to the answer to a later question."""
        request = self.session.msg("kernel_info_request")
        self.send(request)
        last, found = request["header"]["msg_id"], []

        def take(message):
            parent = message["parent_header"].get("msg_id")
            if parent == number:
                found.append(message["header"]["msg_type"])
            return parent == last and message["header"]["msg_type"] == "kernel_info_reply"

        self.until(take)
        return found
