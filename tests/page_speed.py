"""Measure what a visitor waits for and takes, in Chromium: python tests/page_speed.py."""

import statistics
import tempfile
import time
from pathlib import Path

from browser import CHROMIUM, OPTIONS, WIDE
from pictures import encoded, lesion
from playwright.sync_api import sync_playwright
from server import Server

VISITS, PICTURES = 10, 10
USABLE = """() => new Promise((resolve) => {
    const look = () => document.querySelector("[data-choose]")?.checkVisibility()
        ? resolve(performance.now()) : requestAnimationFrame(look);
    look();
})"""
SHOWN = """async ([content, name]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(content)], name, {type: "image/jpeg"}));
    let sent = 0;
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (message) {
        if (message.byteLength > content.length) sent = performance.now();
        return send.call(this, message);
    };
    document.body.dispatchEvent(new DragEvent("drop",
        {dataTransfer: transfer, bubbles: true, cancelable: true}));
    const image = document.querySelector("[data-plain] img");
    const before = image.src;
    while (image.src === before
           || !document.querySelector(".sc-answer")?.textContent.includes(name)) {
        await new Promise(requestAnimationFrame);
    }
    await image.decode();
    await new Promise(requestAnimationFrame);
    WebSocket.prototype.send = send;
    return performance.now() - sent;
}"""


def main():
    usable, shown, memory = [], [], []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        for visit in range(VISITS):
            kernel = server.waiting()
            time.sleep(3)  # until it is ready
            tab = browser.new_context(viewport=WIDE).new_page()
            tab.goto(server.address, wait_until="commit")
            usable.append(tab.evaluate(USABLE))
            time.sleep(1)  # until the network is warm
            memory.append(kernel.memory_full_info().uss / 1e6)
            for number in range(PICTURES):
                picture = encoded(lesion(seed=number))
                shown.append(tab.evaluate(SHOWN, [list(picture), f"{visit}-{number}.jpg"]))
            tab.close(run_before_unload=True)
        browser.close()
        server.process.terminate()
        server.process.wait(20)
    _say(f"request to usable page, {VISITS} visits", usable)
    _say(
        "bytes of a 600 x 450 JPEG sent to answer and heatmap drawn, first of a visit",
        shown[::PICTURES],
    )
    later = [each for i, each in enumerate(shown) if i % PICTURES]
    _say("the same, every later one", later)
    _say("memory of a visitor's kernel alone, network warm", memory, "MB")


def _say(what, values, unit="ms"):
    middle, last = statistics.median(values), max(values)
    print(f"{what}: median {middle:.0f} {unit}, largest {last:.0f} {unit}")


if __name__ == "__main__":
    main()
