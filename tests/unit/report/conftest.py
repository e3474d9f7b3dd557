from html.parser import HTMLParser

import pytest

VOID = {"meta", "link", "img", "br", "use", "path", "rect", "line"}


class Page(HTMLParser):
    """Tags that are open, references, and text outside of style."""

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.tags, self.ids = [], [], [], []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        names = ("src", "href", "xlink:href", "action", "srcset", "data")
        self.references += [value for name, value in attributes if name in names]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += data


@pytest.fixture(scope="session")
def parse():
    """Reads a page."""
    return Page
