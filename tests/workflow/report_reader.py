"""Somebody who reads the report: what a headless Chromium shows of it, and what happens meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

LOCAL = ("file:", "data:", "blob:", "about:")

GRAPH = "#rulegraph .marks"
IS_SHOWN = """() => document.querySelector(".grow > iframe, .grow > .p-3 > img")?.src
  === results[app.state.resultPath]?.data_uri"""
IS_ON_TOP = """block => { const box = block.getBoundingClientRect();
  return block.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2)) }"""
SIDEWAYS = """() => [document.documentElement, ...document.querySelectorAll("nav, .grow")]
  .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.tagName + " " + box.className)"""
PICTURES = """() => [...document.querySelectorAll("img:not(nav img)")].map(image => ({
  pixels: image.naturalWidth, width: image.getBoundingClientRect().width, left: image.getBoundingClientRect().left,
  right: image.getBoundingClientRect().right}))"""


@dataclass
class Seen:
    """What a reader sees of one result."""

    path: str
    text: str  # of a page; empty for a picture
    pictures: list[dict[str, float]]
    space: float  # px of width that the pictures may take
    sideways: list[str]  # what must be scrolled sideways
    caption: str = ""


@dataclass
class Reader:
    """Somebody with a browser; what it asked for beyond the report, and what went wrong."""

    page: Any  # of playwright
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        self.page.context.route("**/*", self._only_local)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.goto(address)
        self.page.wait_for_selector(GRAPH)

    def _only_local(self, route: Any) -> None:
        if route.request.url.startswith(LOCAL):
            return route.continue_()
        self.requests.append(route.request.url)
        return route.abort()

    def menu(self) -> list[str]:
        """The categories, from top to bottom."""
        self.page.locator("nav nav a").first.click()
        entries = self.page.locator("nav ul a").all()
        return [entry.inner_text() for entry in sorted(entries, key=lambda entry: entry.bounding_box()["y"])][3:]

    def landing(self) -> None:
        """What the report opens with: the text, and the graph of the stages."""
        self.page.locator("nav nav a").first.click()
        self.page.locator("nav ul a", has_text="Workflow").click()
        self.page.wait_for_selector(GRAPH)

    def category(self, name: str) -> None:
        self.page.locator("nav nav a").first.click()
        self.page.locator("nav ul a", has_text=name).click()
        self.page.locator("nav tbody tr").first.wait_for()

    def switch(self, split: str) -> None:
        self.page.locator("fieldset label", has_text=split).click()

    def result(self, row: int) -> Seen:
        """Open the result of a row, then what is said of it."""
        buttons = self.page.locator("nav tbody tr").nth(row).locator("a")
        buttons.first.click()
        self.page.wait_for_function(IS_SHOWN)
        frame = self.page.locator(".grow > iframe")
        inside = frame.element_handle().content_frame() if frame.count() else self.page
        if frame.count():
            inside.wait_for_selector("main")  # Chromium leaves a page of more than 2 MB, as an address, blank
        inside.wait_for_function("() => [...document.images].every(image => image.complete)")
        seen = Seen(
            path=self.page.evaluate("app.state.resultPath"),
            text=inside.inner_text("main") if frame.count() else "",
            pictures=inside.evaluate(PICTURES),
            space=inside.evaluate("document.documentElement.clientWidth"),
            sideways=self.page.evaluate(SIDEWAYS) + (inside.evaluate(SIDEWAYS) if frame.count() else []),
        )
        buttons.last.click()
        seen.caption = self.page.locator("nav li.prose").inner_text()
        seen.sideways += self.page.evaluate(SIDEWAYS)
        self.page.locator("nav nav a").nth(2).click()
        return seen

    def everything(self, splits: Sequence[str]) -> list[Seen]:
        """Every result of every category, under every split where there is a switch."""
        results = []
        for name in self.menu():
            self.category(name)
            switch = self.page.locator("fieldset").count() > 0
            for split in splits if switch else ("",):
                for row in range(self.page.locator("nav tbody tr").count()):
                    if switch:
                        self.switch(split)
                    results.append(self.result(row))
        return results
