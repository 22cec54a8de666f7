"""A written page taken apart, for the tests of pages."""

from html.parser import HTMLParser


class Read(HTMLParser):
    """Elements with their attributes, and the text of each by its tag and id."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.texts = [], [], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.attributes.append((tag, dict(attributes)))
        if tag not in ("meta", "input", "link", "img"):
            self.open.append((tag, dict(attributes).get("id")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        place = self.open[-1] if self.open else None
        self.texts[place] = self.texts.get(place, "") + text
