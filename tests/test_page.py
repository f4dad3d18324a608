"""The page as a visitor meets it: Voila as `make app` starts it, and a real Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT
from pictures import encoded, lesion, photograph, png_header

from skin_cancer.classifier import STRANGE, Classifier
from skin_cancer.diagnoses import BY_CODE

SCREENSHOT = ROOT / "runs" / "page.png"  # the README shows a copy
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and os.environ.get("CI") != "true", reason="there is no Chromium"
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a running Voila."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    voila = Path(sys.executable).with_name("voila")
    log = tmp_path_factory.mktemp("voila") / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [voila, "app.ipynb", "--no-browser", f"--port={port}"],
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    address = f"http://localhost:{port}"
    deadline = time.monotonic() + 60
    while "is running at" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    yield address
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, "CI needs Chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def tab(server, browser):
    """A loaded page and the addresses that it asked for."""
    tab = browser.new_page(viewport={"width": 1100, "height": 1000})
    tab.asked = []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(server)
    tab.get_by_role("button", name="Choose a picture").wait_for(timeout=60_000)
    yield tab
    tab.close()


def upload(tab, name, content):
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Choose a picture").click()
    chooser.value.set_files({"name": name, "mimeType": "image/jpeg", "buffer": content})


def expected_name(content):
    return BY_CODE[Classifier.load().predict(content).diagnosis].name


def test_a_visitor_reads_a_diagnosis(tab, picture):
    assert tab.title() == "Skin lesion classifier"
    assert "not a medical device" in tab.inner_text("main").lower()
    upload(tab, "lesion.jpg", picture)
    heading = tab.locator(".sc-answer h2")
    heading.wait_for()
    assert heading.inner_text().lower() == expected_name(picture)
    assert tab.locator(".sc-bars tr").count() == 7
    box = tab.get_by_role("img", name="The centre of your picture").bounding_box()
    assert box["width"] == box["height"] > 300
    tab.screenshot(path=SCREENSHOT)
    assert SCREENSHOT.stat().st_size > 50_000


def test_a_photograph_gets_a_warning_above_the_answer(tab, server):
    upload(tab, "building.jpg", encoded(photograph()))
    warning = tab.get_by_role("alert").filter(has_text=STRANGE)
    warning.wait_for()
    heading = tab.get_by_role("heading", name="Unlike anything the model has learnt")
    assert warning.bounding_box()["y"] < heading.bounding_box()["y"]
    assert tab.get_by_role("table", name="Most similar confirmed cases").is_visible()
    assert all(url.startswith((server, "data:", "blob:")) for url in tab.asked)


def test_another_heatmap_can_be_chosen(tab, picture):
    upload(tab, "lesion.jpg", picture)
    tab.locator(".sc-answer h2").wait_for()
    tab.get_by_label("Evidence for").select_option("dermatofibroma")
    tab.get_by_role("img", name="speaks for dermatofibroma").wait_for()


def test_wrong_files_get_a_sentence_and_the_next_upload_works(tab):
    wrong = {
        "text.jpg": (b"only text", "cannot be read as a picture"),
        "cut.jpg": (encoded(lesion())[:5000], "damaged or incomplete"),
        "empty.jpg": (b"", "empty"),
    }
    for name, (content, words) in wrong.items():
        upload(tab, name, content)
        tab.get_by_role("alert").filter(has_text=name).filter(has_text=words).wait_for()
    good = encoded(lesion(seed=5))
    upload(tab, "good.jpg", good)
    heading = tab.locator(".sc-answer h2")
    heading.wait_for()
    assert heading.inner_text().lower() == expected_name(good)


def test_a_file_of_60_mb_is_refused_and_the_page_lives_on(tab, picture, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(60_000_000))
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Choose a picture").click()
    chooser.value.set_files(large)
    tab.get_by_role("alert").filter(has_text="60 MB").wait_for(timeout=60_000)
    upload(tab, "lesion.jpg", picture)
    tab.locator(".sc-answer h2").wait_for()


def test_a_picture_of_20000_by_20000_pixels_is_refused(tab, picture):
    upload(tab, "huge.png", png_header(20_000, 20_000))
    tab.get_by_role("alert").filter(has_text="megapixels").wait_for()
    upload(tab, "lesion.jpg", picture)
    tab.locator(".sc-answer h2").wait_for()


def test_the_page_asks_no_other_host(tab, server, picture):
    upload(tab, "lesion.jpg", picture)
    tab.locator(".sc-answer h2").wait_for()
    outside = [url for url in tab.asked if not url.startswith((server, "data:", "blob:"))]
    assert outside == []


@pytest.mark.parametrize(
    "path",
    ["README.md", "app.ipynb", "voila.json", "skin_cancer/app.css", "models/imagenet/convert.py"],
)
def test_no_file_of_the_project_is_served(server, path):
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{server}/voila/files/{path}", timeout=20)
    assert error.value.code in (403, 404)


def test_unknown_template_does_not_hang(server):
    with urllib.request.urlopen(f"{server}/?template=nosuch", timeout=30) as answer:
        assert "Starting the classifier" in answer.read().decode()
