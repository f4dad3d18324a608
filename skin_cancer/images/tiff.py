"""The pages of a TIFF, by its directories alone (TIFF 6.0, section 2; BigTIFF)."""

import struct
from dataclasses import dataclass

from skin_cancer.errors import ImageError
from skin_cancer.images.limits import DAMAGED

MAX_PAGES = 1_000
MAX_ENTRIES = 1_000  # of a page; programs write about twenty
NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q", 17: "q"}
GREY = (0, 1)  # as COLOURS: white or black is 0
MASK = 4  # in the kind of a page
COLOURS, CMYK = 262, 5  # PhotometricInterpretation
RAW = {32803, 34892}  # as COLOURS: of a camera's sensor
MULTIPLIED = 1  # as `Page.alpha`


@dataclass(frozen=True)
class Page:
    """A page of a TIFF.

    Attributes:
        number: 0 is the first.
        tags: number of a tag to its values, the first eight; only of numbers.
        profile: the ICC profile, or None.
    """

    number: int
    tags: dict[int, tuple]
    profile: bytes | None

    def first(self, tag: int, default: float = 0) -> float:
        """Return the first value of a tag."""
        return self.tags.get(tag, (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stored."""
        return int(self.first(256)), int(self.first(257))

    @property
    def deep(self) -> bool:
        """Whether its samples have more than 8 bits, or are no integers."""
        return self.first(258, 1) > 8

    @property
    def wide(self) -> bool:
        """Whether its samples are not unsigned numbers of at most 16 bits."""
        return self.first(258, 1) > 16 or self.first(339, 1) != 1

    @property
    def declared(self) -> float:
        """The value of white that it declares, 0 if none: SMaxSampleValue or MaxSampleValue."""
        return self.first(341) or self.first(281)

    @property
    def alpha(self) -> int:
        """Transparency: 0 none, 1 colours are multiplied by it, 2 they are not.

        One sample more than colours is transparency if nothing else is said of it.
        """
        colours = 1 if self.first(COLOURS) in GREY else 3
        said = self.first(338) if 338 in self.tags or self.first(277) != colours + 1 else 2
        return int(said) if said in (1, 2) else 0


def largest_page(data: bytes) -> Page:
    """Return the page with most pixels, and of these the first; no mask.

    Raises:
        ImageError: it has none, or is a camera's raw image.
    """
    pages = [page for page in _pages(data) if not int(page.first(254)) & MASK]
    if not pages:
        raise ImageError(DAMAGED)
    if any(page.first(COLOURS) in RAW for page in pages):
        raise ImageError(
            "This is a raw image of a camera, which cannot be read as an image. Save it as JPEG or "
            "TIFF with the camera's program."
        )
    return max(pages, key=lambda page: page.size[0] * page.size[1])


def _pages(data):
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    word, count, entry = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    pages: list[Page] = []
    place, seen = 8 if big else 4, set()
    try:
        place = struct.unpack_from(order + word, data, place)[0]
        while place and place not in seen and len(pages) < MAX_PAGES:
            seen.add(place)
            entries = struct.unpack_from(order + count, data, place)[0]
            if entries > MAX_ENTRIES:
                raise ImageError(DAMAGED)
            place += struct.calcsize(order + count)
            size = struct.calcsize(order + entry)
            found = [
                struct.unpack_from(order + entry, data, place + i * size) for i in range(entries)
            ]
            pages.append(_page(data, order, word, len(pages), found))
            place = struct.unpack_from(order + word, data, place + entries * size)[0]
    except struct.error as error:
        if not pages:
            raise ImageError(DAMAGED) from error
    return pages


def _page(data, order, word, number, entries):
    tags, profile = {}, None
    for tag, kind, count, inline in entries:
        if tag == 34675:
            start = struct.unpack(order + word, inline)[0]
            profile = data[start : start + count]
        elif kind in NUMBERS and count:
            form = f"{order}{min(count, 8)}{NUMBERS[kind]}"
            whole = count * struct.calcsize(order + NUMBERS[kind])
            start = struct.unpack(order + word, inline)[0]
            source, at = (inline, 0) if whole <= len(inline) else (data, start)
            tags[tag] = struct.unpack_from(form, source, at)
    return Page(number, tags, profile)
