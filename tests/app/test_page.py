"""The page as a visitor meets it: Voila as `make app` starts it, and a real Chromium."""

import base64
import csv
import os
import re
import time
import urllib.request
from contextlib import contextmanager

import pytest
from browser import CHROMIUM, OPTIONS, WIDE
from conftest import ROOT
from pictures import encoded, lesion, photograph, png_header, with_exif
from server import Server, wait_for

from skin_cancer.app.answer import UNKNOWN
from skin_cancer.data import examples
from skin_cancer.diagnoses import BY_CODE
from skin_cancer.model import bundle
from skin_cancer.model.classifier import Classifier

SCREENSHOTS = ROOT / "runs" / "page"  # the README shows a copy of one
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
SIZES = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "laptop": {"viewport": {"width": 1366, "height": 768}},
    "phone": PHONE,
}
KEYS = {"End": 1, "PageDown": 8, "Space": 8, "ArrowDown": 120}  # and how often it may be pressed
JPEG = b"\xff\xd8\xff"
WATCH_ALERTS = """() => {
    window.alerts = 0;
    const count = (changes) => { if (changes.some((each) => each.addedNodes.length)) alerts += 1; };
    const options = {childList: true, subtree: true};
    for (const alert of document.querySelectorAll(".sc-alert")) {
        new MutationObserver(count).observe(alert, options);
    }
}"""
FIRST, SECOND, *_ = examples.read()
SAME_IMAGES = "[...new Set([...document.images].map((image) => image.naturalWidth))]"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and os.environ.get("CI") != "true", reason="there is no Chromium"
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("voila")) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, "CI needs Chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def visit(server, browser):
    """Open the page as a new visitor, who asks no other host and whose page has no error.

    With `clock` the test can let the page's time pass by `tab.clock`.
    """

    @contextmanager
    def opened(clock=False, **options):
        context = browser.new_context(**{"viewport": WIDE, **options})
        tab = context.new_page()
        asked, errors = [], []
        context.on("request", lambda request: asked.append(request.url))
        tab.on("websocket", lambda opened: asked.append(opened.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("filechooser", lambda _chooser: None)  # from now on, not when the first is awaited
        if clock:
            tab.clock.install()
        tab.goto(server.address)
        tab.get_by_role("button", name="Choose images").wait_for(timeout=60_000)
        yield tab
        with tab.expect_event("close"):
            tab.close(run_before_unload=True)  # which is when the kernel goes
        context.close()
        own = server.address, server.address.replace("http", "ws"), "data:", "blob:"
        assert [url for url in asked if not url.startswith(own)] == []
        assert errors == []

    return opened


@pytest.fixture
def tab(visit):
    with visit() as tab:
        yield tab


def choose(tab, *files):
    """Choose files, each a name and its content."""
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Choose images").click()
    chooser.value.set_files(
        [{"name": name, "mimeType": "image/jpeg", "buffer": data} for name, data in files]
    )


def answer_for(tab, name):
    """The answer on the page, once it is that for a file."""
    answer = tab.get_by_role("region", name="Result").filter(has_text=name)
    answer.wait_for()
    return answer


def hand_over(tab, event, name, content):
    """Let the page see a file that is dropped or pasted."""
    tab.evaluate(
        """([event, name, content]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], name, {type: "image/jpeg"}));
            const options = {bubbles: true, cancelable: true};
            document.body.dispatchEvent(event === "drop"
                ? new DragEvent(event, {...options, dataTransfer: transfer})
                : new ClipboardEvent(event, {...options, clipboardData: transfer}));
        }""",
        [event, name, list(content)],
    )


def screenshot(tab, name):
    """Write an image of the whole page, of which the window may show a part."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    tab.mouse.move(0, 0)
    tab.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def assert_accessible(tab):
    """Let axe-core look at the page: it finds nothing."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab).response["violations"]
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found] == []


def expected(content):
    return BY_CODE[Classifier.load().predict(content).diagnosis].name


def test_a_visitor_reads_a_diagnosis(tab, picture):
    assert tab.title() == "Skin lesion classifier"
    assert tab.locator("link[rel=icon]").get_attribute("href").startswith("data:image/svg+xml")
    assert "not a medical device" in tab.inner_text("main").lower()
    assert_accessible(tab)
    screenshot(tab, "start")
    choose(tab, ("lesion.jpg", picture))
    answer = answer_for(tab, "lesion.jpg")
    verdict = Classifier.load().predict(picture).verdict()
    assert verdict.words in answer.get_by_role("heading").inner_text().lower()
    assert answer.locator(".sc-differential dd").first.inner_text().startswith(expected(picture))
    scale = answer.get_by_role("img", name=f"{verdict.percents[0]} on a scale")
    assert f"threshold {verdict.percents[1]}" in scale.get_attribute("aria-label")
    assert answer.locator(".sc-bars tr").count() == len(Classifier.load().description.diagnoses)
    found = answer.get_by_role("row", name=re.compile("^HAM10000 1,490 "))
    assert not found.is_visible()
    answer.get_by_text("About this answer").click()
    assert found.is_visible()
    shown = tab.get_by_role("img", name="The square of your image").bounding_box()
    heat = tab.get_by_role("img", name=f"is evidence for {expected(picture)}").bounding_box()
    assert shown["width"] > 200
    for side in (shown["height"], heat["width"], heat["height"]):
        assert side == pytest.approx(shown["width"], abs=1)
    assert shown["y"] == pytest.approx(heat["y"], abs=1)
    assert_accessible(tab)
    screenshot(tab, "answer")


def is_in_the_window(tab, button):
    """Whether a visitor sees it, as it is; Playwright's own click would scroll to it."""
    box, height = button.bounding_box(), tab.viewport_size["height"]
    return box["y"] >= 0 and box["y"] + box["height"] <= height


def swipe(tab):
    """Move a finger up the middle of the screen."""
    finger = tab.context.new_cdp_session(tab)

    def touch(kind, *points):
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    touch("touchStart", {"x": 195, "y": 700})
    for y in range(690, 90, -20):
        touch("touchMove", {"x": 195, "y": y})
    touch("touchEnd")


def scrolls_to(tab, button, move, times):
    """Move again and again until a button is in the window, then return to the top."""
    assert not is_in_the_window(tab, button)
    for _ in range(times):
        move()
        if is_in_the_window(tab, button):
            break
    wait_for(lambda: is_in_the_window(tab, button))
    wait_for(lambda: tab.keyboard.press("Home") or tab.evaluate("scrollY") == 0)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_the_verdict_is_on_the_first_screen_and_what_it_is_not_in_every(visit, size):
    with visit(**size) as tab:
        tab.get_by_role("button", name="Try an example").click()
        answer = answer_for(tab, FIRST.image_id)
        assert is_in_the_window(tab, answer.locator(".sc-verdict"))
        assert is_in_the_window(tab, answer.locator(".sc-differential"))
        caution = tab.locator(".sc-caution").get_by_text("Not a medical device. No result excludes")
        for place in ("0", "document.body.scrollHeight / 2", "document.body.scrollHeight"):
            tab.evaluate(f"scrollTo(0, {place})")
            assert is_in_the_window(tab, caution)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_the_page_scrolls_to_its_last_button(visit, size):
    with visit(**size) as tab:
        tab.get_by_role("button", name="Try an example").click()
        answer_for(tab, FIRST.image_id)
        last = tab.get_by_role("button", name="Remove all")
        last.wait_for()
        tab.get_by_role("heading", level=1).click()  # from now on no button has the keys
        for key, times in KEYS.items():
            scrolls_to(tab, last, lambda key=key: tab.keyboard.press(key), times)
        tab.mouse.move(size["viewport"]["width"] / 2, 400)
        scrolls_to(tab, last, lambda: tab.mouse.wheel(0, 300), 20)
        if size is PHONE:
            scrolls_to(tab, last, lambda: swipe(tab), 10)


def test_the_page_is_printed_whole(tab):
    tab.get_by_role("button", name="Try an example").click()
    answer_for(tab, FIRST.image_id)
    printed = tab.pdf(format="A4")
    tab.emulate_media(media="print")
    tab.set_viewport_size({"width": 794, "height": 1123})
    height = tab.evaluate("document.querySelector('footer').getBoundingClientRect().bottom")
    assert printed.count(b"/Type /Page\n") >= height / 1123 > 1


def test_a_photograph_gets_no_answer_but_a_reason(tab):
    choose(tab, ("building.jpg", encoded(photograph())))
    answer = answer_for(tab, "building.jpg")
    answer.get_by_role("heading", name=UNKNOWN).wait_for()
    assert "Check that this is a dermatoscopic image" in answer.inner_text()
    for absent in (".sc-risk", ".sc-bars", "[data-heat]", ".sc-cases"):
        assert not tab.locator(absent).is_visible()
    assert tab.get_by_role("img", name="The square of your image").is_visible()
    assert_accessible(tab)
    screenshot(tab, "unfamiliar")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_picture_that_is_dropped_or_pasted(tab, event, picture):
    hand_over(tab, event, f"{event}.jpg", picture)
    assert expected(picture) in answer_for(tab, f"{event}.jpg").inner_text()


def test_a_picture_dragged_over_the_page_shows_where_it_goes(tab):
    tab.evaluate("document.body.dispatchEvent(new DragEvent('dragover', {bubbles: true}))")
    tab.locator(".sc-drop.sc-over").wait_for()
    screenshot(tab, "dragged")
    tab.evaluate("document.body.dispatchEvent(new DragEvent('dragleave', {bubbles: true}))")
    tab.locator(".sc-drop:not(.sc-over)").wait_for()


def test_what_is_dropped_and_is_no_file_is_said(tab):
    tab.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.setData("text/plain", "words");
            document.body.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true}));
        }"""
    )
    tab.get_by_role("alert").filter(has_text="That was not a file.").wait_for()


def test_a_picture_from_the_camera_of_a_computer(tab):
    tab.get_by_role("button", name="Take a photo").click()
    camera = tab.get_by_role("dialog", name="Camera")
    camera.wait_for()
    wait_for(lambda: tab.evaluate("document.querySelector('video').videoWidth") > 0)
    screenshot(tab, "camera")
    assert_accessible(tab)
    camera.get_by_role("button", name="Take the photo").click()
    answer_for(tab, "camera ")
    assert tab.evaluate("document.querySelector('video').srcObject") is None


def test_a_camera_that_is_refused_is_said(visit):
    with visit() as tab:
        refuse = "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error()) }"
        tab.evaluate(refuse)
        tab.get_by_role("button", name="Take a photo").click()
        tab.get_by_role("alert").filter(has_text="The camera cannot be used.").wait_for()
        screenshot(tab, "camera_refused")


def test_a_phone_hands_over_to_its_camera_and_the_page_fits(visit, picture):
    with visit(**PHONE) as tab:
        with tab.expect_file_chooser() as chooser:
            tab.get_by_role("button", name="Take a photo").tap()
        assert chooser.value.element.get_attribute("capture") == "environment"
        assert chooser.value.element.get_attribute("accept") == "image/*"
        photo = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": picture}
        chooser.value.set_files(photo)
        answer_for(tab, "photo.jpg")
        choose(tab, ("two.jpg", encoded(lesion(seed=2))))
        answer_for(tab, "two.jpg")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        for button in tab.get_by_role("button").all():
            assert not button.is_visible() or button.bounding_box()["height"] >= 24
        assert_accessible(tab)
        screenshot(tab, "phone")


def test_ten_pictures_at_once_with_a_broken_one_among_them(tab, tmp_path):
    files = [(f"lesion {i}.jpg", encoded(lesion(seed=i))) for i in range(10)]
    files[4] = ("broken.jpg", b"only text")
    choose(tab, *files)
    rows = tab.get_by_role("region", name="Your lesions").locator("tbody tr")
    wait_for(lambda: rows.count() == 9)
    tab.get_by_role("alert").filter(has_text="broken.jpg: This is a text file").wait_for()
    classifier = Classifier.load()
    found = {
        name: classifier.predict(data).malignancy for name, data in files if data.startswith(JPEG)
    }
    order = [row.locator("th button").inner_text() for row in rows.all()]
    assert order == sorted(found, key=found.get, reverse=True)
    answer_for(tab, order[0])
    summary = tab.get_by_role("table").filter(has_text="9 read").locator("caption").inner_text()
    words = r"9 read, \d above the threshold(, \d without an answer)?, 1 refused"
    assert re.fullmatch(words, summary)
    box = tab.get_by_role("region", name="Your lesions")
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight")  # all nine are seen
    rows.nth(5).locator("img").click()  # anywhere in the row
    answer_for(tab, order[5])
    assert rows.nth(5).get_by_role("button").first.get_attribute("aria-current") == "true"
    assert_accessible(tab)
    screenshot(tab, "several")
    saved = save(tab, "Save table (CSV)", tmp_path)
    with saved.open(newline="", encoding="utf-8-sig") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [*order, "broken.jpg"]
    tab.get_by_role("button", name="Remove all").click()
    tab.get_by_role("button", name="Undo: 9 images removed").wait_for()
    assert not tab.get_by_role("region", name="Result").is_visible()
    choose_button = tab.get_by_role("button", name="Choose images")
    assert choose_button.evaluate("element => element === document.activeElement")
    assert tab.locator("[data-plain] img").get_attribute("src") is None
    screenshot(tab, "removed")
    tab.get_by_role("button", name="Undo").click()
    wait_for(lambda: rows.count() == 9)


def test_one_lesion_is_removed_by_keyboard_and_the_next_has_the_focus(tab):
    choose(tab, *[(f"{i}.jpg", encoded(lesion(seed=i))) for i in range(3)])
    rows = tab.get_by_role("region", name="Your lesions").locator("tbody tr")
    wait_for(lambda: rows.count() == 3)
    order = [row.locator("th button").inner_text() for row in rows.all()]
    tab.get_by_role("button", name=f"Remove {order[1]}").focus()
    tab.keyboard.press("Enter")
    wait_for(lambda: rows.count() == 2)
    focused = tab.get_by_role("button", name=f"Remove {order[2]}")
    assert focused.evaluate("element => element === document.activeElement")
    tab.get_by_role("button", name="Undo: 1 image removed").click()
    wait_for(lambda: rows.count() == 3)


def test_the_table_is_whole_on_the_narrowest_phone(visit):
    long = "left forearm of the patient in room 17, second visit.jpg"
    files = (long, encoded(lesion(seed=1))), ("tiny.jpg", encoded(lesion(60, 60)))
    with visit(viewport={"width": 320, "height": 640}) as tab:
        choose(tab, *files, ("building.jpg", encoded(photograph())))
        tab.get_by_role("button", name="Open building.jpg").wait_for()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 320
        box = tab.get_by_role("region", name="Your lesions")
        assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
        cells = tab.locator(".sc-overview tbody :is(th, td)")
        assert cells.evaluate_all("cells => cells.every((c) => c.scrollWidth <= c.clientWidth)")
        for name in (long, "tiny.jpg", "building.jpg"):
            tab.get_by_role("button", name=f"Open {name}").click()
            answer_for(tab, name)
            assert tab.evaluate("document.documentElement.scrollWidth") <= 320
        assert_accessible(tab)
        screenshot(tab, "narrow")


@pytest.mark.parametrize(("locale", "separator"), [("en-GB", ","), ("de-DE", ";")])
def test_the_table_opens_in_a_spreadsheet_of_the_visitors_language(
    visit, tmp_path, picture, locale, separator
):
    with visit(locale=locale) as tab:
        choose(tab, ('a;b,"c".jpg', picture))
        answer_for(tab, 'a;b,"c".jpg')
        saved = save(tab, "Save table (CSV)", tmp_path)
    with saved.open(newline="", encoding="utf-8-sig") as file:
        (row,) = csv.DictReader(file, delimiter=separator)
    assert row["file"] == 'a;b,"c".jpg'
    decimal = "." if separator == "," else ","
    assert re.fullmatch(rf"0\{decimal}\d+", row["malignancy"])


def test_heatmap_opacity_zoom_and_outline_change_at_once(tab, picture):
    choose(tab, ("lesion.jpg", picture))
    answer_for(tab, "lesion.jpg")
    canvas = tab.locator("[data-heat] canvas")
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    tab.get_by_role("combobox", name="Evidence for").select_option(index=5)
    tab.get_by_role("img", name="is evidence for dermatofibroma").wait_for()
    assert canvas.evaluate("canvas => canvas.toDataURL()") != before
    tab.get_by_role("slider", name="Heatmap").fill("20")
    assert canvas.evaluate("canvas => canvas.style.opacity") == "0.2"
    tab.get_by_role("slider", name="Zoom").fill("3")
    view = tab.get_by_role("group", name="Image; arrow keys").bounding_box()
    image = tab.get_by_role("img", name="The square of your image").bounding_box()
    assert image["width"] == pytest.approx(3 * view["width"], rel=0.1)
    scrolled = tab.evaluate("[...document.querySelectorAll('.sc-view')].map((v) => v.scrollLeft)")
    assert scrolled[0] == scrolled[1] > 0
    screenshot(tab, "zoomed")
    assert tab.locator("[data-heat] svg polygon").is_visible()
    tab.get_by_label("Outline of the lesion").uncheck()
    assert not tab.locator("[data-heat] svg").is_visible()


def test_prevalence_and_threshold(tab, picture):
    choose(tab, ("lesion.jpg", picture))
    answer = answer_for(tab, "lesion.jpg")
    answer.get_by_text("About this answer").click()
    assert "a specialist clinic, with the shares of HAM10000" in answer.inner_text()
    tab.get_by_role("combobox", name="Evidence for").select_option(index=5)
    tab.get_by_role("slider", name="Zoom").fill("2")
    tab.get_by_label("Prevalence").select_option(label="Screening")
    answer.filter(has_text="people without complaints").wait_for()
    assert "No threshold for this prior" not in answer.inner_text()
    assert tab.get_by_label("Sensitivity").is_visible()
    assert tab.get_by_role("combobox", name="Evidence for").input_value() == "dermatofibroma"
    assert tab.get_by_role("slider", name="Zoom").input_value() == "2"
    tab.get_by_label("Prevalence").select_option(label="Specialist clinic")
    tab.get_by_label("Sensitivity").select_option(index=2)
    answer.filter(has_text="98% sensitivity").wait_for()
    screenshot(tab, "screening")


def save(tab, button, folder):
    """Press a button that saves a file and return where it is."""
    with tab.expect_download() as download:
        tab.get_by_role("button", name=button, exact=True).click()
    saved = folder / download.value.suggested_filename
    download.value.save_as(saved)
    return saved


@contextmanager
def report_of(browser, saved):
    """Open a report without a network, as a page that has no error."""
    context = browser.new_context(offline=True, viewport=WIDE)
    report, errors = context.new_page(), []
    report.on("console", lambda message: errors.append(message.text))
    report.goto(saved.as_uri())
    yield report
    assert errors == []
    context.close()


def test_the_report_opens_offline_and_says_the_same(tab, picture, browser, tmp_path):
    choose(tab, ("lesion.jpg", with_exif(picture, b"SECRET NAME")))
    answer_for(tab, "lesion.jpg")
    tab.get_by_role("region", name="Result").get_by_text("About this answer").click()
    tab.get_by_label("Prevalence").select_option(label="Screening")
    answer = tab.get_by_role("region", name="Result").filter(has_text="people without complaints")
    answer.wait_for()
    tab.get_by_label("Patient reference").fill("A <b>17</b>")
    tab.get_by_label("Site of this lesion").fill("left forearm")
    saved = save(tab, "Save report", tmp_path)
    assert re.fullmatch(r"skin lesion report [\d-]{10} [\d.]{8}\.html", saved.name)
    with report_of(browser, saved) as report:
        said = report.inner_text("body")
        assert report.title() == "Skin lesion report"
        assert report.get_by_role("region", name="Result").inner_text() == answer.inner_text()
        for table in ("The outlined lesion", "Similar confirmed cases"):
            rows = [page.get_by_role("table", name=table).inner_text() for page in (tab, report)]
            assert rows[0] == rows[1]
        assert "not a medical device" in said.lower()
        assert "Patient reference: A <b>17</b>" in said
        assert "Site: left forearm" in said
        name = bundle.DEFAULT_BUNDLE.name
        assert re.search(rf"\d\d \w+ 20\d\d, \d\d:\d\d \S+\. Model {name} \(trained", said)
        first = BY_CODE[Classifier.load().predict(picture).diagnosis].name
        assert f"Evidence for {first}" in said
        assert report.evaluate(SAME_IMAGES) == [450]
        assert_accessible(report)
        screenshot(report, "report")
    text = saved.read_text(encoding="utf-8")
    assert "default-src 'none'; img-src data:" in text
    links = r'(src|href)="(?!data:image/jpeg|https://api\.isic-archive\.com/images/ISIC_)'
    assert not re.search(links + "|<script", text)
    images = [base64.b64decode(each) for each in re.findall(r"base64,([^\"]+)", text)]
    assert len(set(images)) == len(images) >= 2
    for image in images:
        assert image.startswith(JPEG)
        assert b"SECRET" not in image
        assert b"Exif" not in image


def test_one_report_of_all_lesions_with_the_site_of_each(tab, browser, tmp_path):
    names = ["one.jpg", "two.jpg"]
    choose(tab, *[(name, encoded(lesion(seed=i))) for i, name in enumerate(names)])
    for name in names:
        tab.get_by_role("button", name=f"Open {name}").click()
        answer_for(tab, name)
        assert tab.get_by_label("Site of this lesion").input_value() == ""
        tab.get_by_label("Site of this lesion").fill(f"site of {name}")
    with report_of(browser, save(tab, "Save report of all lesions", tmp_path)) as report:
        articles = report.get_by_role("article")
        order = tab.locator(".sc-overview th button").all_inner_texts()
        assert articles.count() == 2
        for article, name in zip(articles.all(), order, strict=True):
            assert f"Site: site of {name}" in article.inner_text()
            assert name in article.get_by_role("region", name="Result").inner_text()
    tab.get_by_label("Patient reference").fill("someone")
    tab.get_by_role("button", name="Remove all").click()
    tab.get_by_role("button", name="Undo").click()
    answer_for(tab, order[0])
    assert tab.get_by_label("Patient reference").input_value() == ""


def test_the_next_example_and_its_report_show_the_confirmed_diagnosis(tab, browser, tmp_path):
    for example in (FIRST, SECOND):
        confirmed = f"Confirmed diagnosis of this example: {BY_CODE[example.diagnosis].name}"
        tab.get_by_role("button", name="Try an example").click()
        assert confirmed in answer_for(tab, example.image_id).inner_text()
        screenshot(tab, f"example {example.image_id}")
    with report_of(browser, save(tab, "Save report", tmp_path)) as report:
        assert confirmed in report.inner_text("body")


def test_the_keyboard_alone_is_enough(tab, picture, tmp_path):
    saved = tmp_path / "lesion.jpg"
    saved.write_bytes(picture)

    def press_until(role, name):
        press_until_at(tab.get_by_role(role, name=name).first, name)

    def press_until_at(target, name):
        for _ in range(40):
            tab.keyboard.press("Tab")
            if target.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"{name} is not reached")

    press_until("button", "Choose images")
    with tab.expect_file_chooser() as chooser:
        tab.keyboard.press("Enter")
    chooser.value.set_files(saved)
    answer_for(tab, "lesion.jpg")
    press_until("button", "Try an example")
    tab.keyboard.press("Enter")
    answer_for(tab, FIRST.image_id)
    press_until("button", "Open lesion.jpg")
    screenshot(tab, "keyboard")
    tab.keyboard.press("Enter")
    answer_for(tab, "lesion.jpg")
    press_until("combobox", "Prevalence")
    tab.keyboard.press("ArrowDown")
    press_until_at(tab.locator("summary"), "About this answer")
    tab.keyboard.press("Enter")
    tab.get_by_text("people without complaints", exact=False).last.wait_for()
    press_until("slider", "Heatmap")
    tab.keyboard.press("End")
    assert tab.locator("[data-heat] canvas").evaluate("canvas => canvas.style.opacity") == "1"
    press_until("button", "Save report")
    with tab.expect_download():
        tab.keyboard.press("Enter")


def test_dark_theme(visit, picture):
    with visit(color_scheme="dark") as tab:
        screenshot(tab, "dark_start")
        choose(tab, ("lesion.jpg", picture), ("building.jpg", encoded(photograph())), ("no", b"no"))
        tab.get_by_role("button", name="Open building.jpg").click()
        answer_for(tab, "building.jpg")
        assert_accessible(tab)
        screenshot(tab, "dark")
        background = "getComputedStyle(document.body).backgroundColor"
        assert sum(map(int, tab.evaluate(background)[4:-1].split(","))) < 150


def test_two_visitors_never_see_each_others_pictures(visit, server):
    mine, theirs = encoded(lesion(seed=1)), encoded(lesion(seed=2))
    with visit() as one, visit() as two:
        choose(one, ("mine.jpg", mine))
        choose(two, ("theirs.jpg", theirs))
        answer_for(one, "mine.jpg")
        answer_for(two, "theirs.jpg")
        assert "theirs" not in one.inner_text("body")
        assert "mine" not in two.inner_text("body")
        assert len(server.kernels()) >= 2


def test_the_kernel_is_gone_when_the_tab_closes(visit, server):
    waiting = server.waiting()
    with visit():
        wait_for(lambda: len(server.kernels()) == 2)
        assert waiting in server.kernels()
    wait_for(lambda: not waiting.is_running(), 60)
    assert len(server.kernels()) == 1


def test_a_tab_that_dies_leaves_no_kernel(browser, tmp_path):
    quick = "--MappingKernelManager.cull_idle_timeout=4", "--MappingKernelManager.cull_interval=1"
    with Server(tmp_path, *quick) as server:
        tab = browser.new_page()
        tab.goto(server.address)
        tab.get_by_role("button", name="Choose images").wait_for(timeout=60_000)
        time.sleep(6)  # idle, but there
        assert len(server.kernels()) == 2
        tab.close()  # without a word to the page
        wait_for(lambda: len(server.kernels()) == 1)
        time.sleep(6)  # what waits for the next visitor is not idle
        waiting = server.waiting()
        waiting.kill()
        wait_for(lambda: server.kernels() not in ([], [waiting]))
        tab = browser.new_page()
        tab.goto(server.address)
        tab.get_by_role("button", name="Choose images").wait_for(timeout=60_000)
        tab.close()


def test_nothing_of_a_picture_is_written_to_disk(tab, picture, server):
    def written():
        places = [server.folder, ROOT / "skin_cancer"]
        return {path for place in places for path in place.rglob("*") if path.is_file()}

    before = written()
    choose(tab, ("private name.jpg", picture))
    answer_for(tab, "private name.jpg")
    for path in written():
        content = path.read_bytes()
        assert path in before or not content.startswith(JPEG), path
        assert b"private name" not in content, path
    for kernel in server.kernels():
        assert not any(str(ROOT) in file.path for file in kernel.open_files() if "w" in file.mode)


def test_wrong_files_get_a_sentence_and_the_next_upload_works(tab):
    wrong = {
        "text.jpg": (b"only text", "cannot be read as an image"),
        "cut.jpg": (encoded(lesion())[:5000], "damaged or incomplete"),
        "empty.jpg": (b"", "empty"),
        "huge.png": (png_header(20_000, 20_000), "megapixels"),
    }
    for name, (content, words) in wrong.items():
        choose(tab, (name, content))
        tab.get_by_role("alert").filter(has_text=name).filter(has_text=words).wait_for()
    screenshot(tab, "refused")
    good = encoded(lesion(seed=5))
    choose(tab, ("good.jpg", good))
    assert expected(good) in answer_for(tab, "good.jpg").inner_text()


def test_a_picture_of_40_mb_arrives_with_a_progress_bar(tab, picture, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(picture + bytes(40_000_000))
    tab.evaluate(
        """() => {
            window.progress = [];
            new MutationObserver(() => {
                for (const bar of document.querySelectorAll("progress")) {
                    window.progress.push(bar.value / bar.max);
                }
            }).observe(document.body, {subtree: true, childList: true, attributes: true});
        }"""
    )
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Choose images").click()
    chooser.value.set_files(large)
    answer_for(tab, "large.jpg")
    progress = tab.evaluate("window.progress")
    assert progress == sorted(progress)
    assert len(set(progress)) > 10


def test_a_file_of_60_mb_is_refused_without_being_sent(tab, picture, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(60_000_000))
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Choose images").click()
    chooser.value.set_files(large)
    tab.get_by_role("alert").filter(has_text="60 MB").wait_for()
    choose(tab, ("lesion.jpg", picture))
    answer_for(tab, "lesion.jpg")


def test_a_kernel_that_is_gone_is_said(visit, server, picture):
    with visit(clock=True) as tab:
        for kernel in server.kernels():
            kernel.suspend()
        choose(tab, ("lesion.jpg", picture), ("two.jpg", encoded(lesion(seed=2))))
        tab.get_by_label("Sent of lesion.jpg").wait_for()
        screenshot(tab, "on_its_way")
        tab.clock.run_for(16_000)
        alert = tab.get_by_role("alert").filter(has_text="does not answer")
        alert.get_by_role("button", name="Reload the page").wait_for()
        assert tab.get_by_role("button", name="Choose images").is_disabled()
        screenshot(tab, "kernel_gone")
        for kernel in server.kernels():
            kernel.resume()
        tab.clock.run_for(11_000)
        alert.wait_for(state="hidden")
        for name in ("lesion.jpg", "two.jpg"):  # nothing that was on its way is lost
            tab.get_by_role("button", name=f"Open {name}").wait_for()


def test_a_kernel_that_is_killed_is_said_without_an_upload(visit, server):
    mine = server.waiting()
    with visit(clock=True) as tab:
        mine.kill()
        tab.clock.run_for(30_000)
        tab.get_by_role("alert").filter(has_text="does not answer").wait_for()
        tab.get_by_role("button", name="Reload the page").click()
        tab.get_by_role("button", name="Try an example").click()
        answer_for(tab, FIRST.image_id)


@pytest.mark.parametrize(("acts", "seconds"), [(True, 1), (False, 2)], ids=["acts", "waits"])
def test_a_server_that_is_gone_is_said_once_and_what_was_read_is_saved(
    browser, tmp_path, acts, seconds
):
    names = [f"{i}.jpg" for i in range(3)]
    with Server(tmp_path) as server:
        tab = browser.new_page(viewport={"width": 1366, "height": 768})
        tab.clock.install()
        tab.goto(server.address)
        tab.get_by_role("button", name="Choose images").wait_for(timeout=60_000)
        choose(tab, *[(name, encoded(lesion(seed=i))) for i, name in enumerate(names)])
        tab.get_by_role("button", name="Open 2.jpg").wait_for()
        tab.evaluate(WATCH_ALERTS)
        tab.keyboard.press("End")
        tab.clock.run_for(2_000)
        server.process.kill()
    if acts:
        tab.mouse.click(1, 300)
    tab.clock.run_for(1_000 * seconds)
    alert = tab.get_by_role("alert").filter(has_text="does not answer")
    alert.wait_for(timeout=10_000)
    assert is_in_the_window(tab, alert)
    screenshot(tab, "server_gone")
    for name in names:
        tab.get_by_role("button", name=f"Open {name}").click()
        heading = answer_for(tab, name).get_by_role("heading").inner_text()
        with report_of(browser, save(tab, "Save report", tmp_path)) as report:
            assert name in report.inner_text("main")
            assert report.get_by_role("heading", level=2).inner_text() == heading
            assert report.evaluate(SAME_IMAGES) == [450]
        tab.clock.run_for(1_000)  # a report's name has the second in it
    table = save(tab, "Save table (CSV)", tmp_path).read_text(encoding="utf-8-sig")
    assert all(name in table for name in names)
    for control in ("Prevalence", "Remove all"):
        assert tab.locator("[inert]").filter(has_text=control).count() == 1
    assert tab.evaluate("alerts") == 1
    assert_accessible(tab)
    tab.close()


NAMES = {
    "markup": ("<img src=x onerror=window.stolen=1><script>window.stolen=1</script>.jpg", "<img"),
    "quotes": ("\"' onmouseover=window.stolen=1 x='.jpg", "\"' onmouseover"),
    "path": ("../../../etc/passwd.jpg", "passwd.jpg"),
    "entities": ("&lt;b&gt; &amp; \0 \u2028 {{ cell }} ${x}.jpg", "&lt;b&gt; &amp;"),
    "4 KB": ("皮膚🩺 \u0301\u0301" * 180 + ".jpg", "皮膚🩺"),
}


@pytest.mark.parametrize(("name", "shown"), NAMES.values(), ids=NAMES)
def test_file_names_are_text(tab, name, shown, tmp_path, browser):
    choose(tab, (name, encoded(lesion(seed=1))), ("other.jpg", encoded(lesion(seed=2))))
    tab.get_by_role("button", name="Open other.jpg").wait_for()
    choose(tab, (name, b"broken"))
    tab.get_by_role("alert").filter(has_text="cannot be read as an image").wait_for()
    with report_of(browser, save(tab, "Save report of all lesions", tmp_path)) as report:
        for page in (tab, report):
            assert shown in page.inner_text("body")
            assert page.evaluate("window.stolen") is None
            assert page.locator("img[src=x], [onmouseover]").count() == 0
            assert page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]
    screenshot(tab, f"name_{len(name)}")


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "app.ipynb",
        "voila.json",
        "skin_cancer/app/page.css",
        "models/imagenet/convert.py",
    ],
)
def test_no_file_of_the_project_is_served(server, path):
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{server.address}/voila/files/{path}", timeout=20)
    assert error.value.code in (403, 404)


def test_unknown_template_does_not_hang(server):
    with urllib.request.urlopen(f"{server.address}/?template=nosuch", timeout=30) as answer:
        assert "Starting the classifier" in answer.read().decode()


def test_the_boot_state_is_seen_until_the_page_is_usable(server, browser):
    tab = browser.new_page(viewport=WIDE)
    tab.goto(server.address, wait_until="commit")
    starting = tab.get_by_role("status").filter(has_text="Starting the classifier")
    starting.wait_for()
    screenshot(tab, "boot")
    tab.get_by_role("button", name="Choose images").wait_for(timeout=60_000)
    assert not starting.is_visible()
    tab.close()


def test_a_page_that_does_not_start_offers_a_reload(server, browser):
    tab = browser.new_page(viewport=WIDE)
    tab.route("**/api/kernels/**", lambda route: route.abort())
    tab.clock.install()
    tab.goto(server.address)
    tab.clock.run_for(21_000)
    tab.unroute_all()
    tab.get_by_role("button", name="Reload the page").click()
    tab.clock.resume()
    tab.get_by_role("button", name="Choose images").wait_for(timeout=60_000)
    tab.close()
