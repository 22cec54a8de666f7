"""Pages that need neither network nor other files: body, data, style and script -> one HTML file with a sound player."""

import base64
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def page(title: str, body: str, *, data: Any = None, style: str = "", script: str = "", media: str = "data:") -> str:
    """A whole page.

    Args:
        title: plain text
        body: HTML under the title
        data: what the script reads as JSON from the element `data`
        style: CSS
        script: JavaScript, after that of the player, by which one sound plays at a time and space pauses it
        media: sources of sounds, as in a Content-Security-Policy
    """
    parts = {
        "title": html.escape(title),
        "body": body,
        # No tag can end or begin inside the data.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "style": style,
        "script": text_of(FOLDER / "player.js") + script,
        "media": media,
    }
    return filled(text_of(FOLDER / "page.html"), parts)


def filled(template: str, parts: Mapping[str, str]) -> str:
    """A template with its {{names}} replaced in one sweep: braces inside the parts are left alone."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def embedded(content: bytes, kind: str) -> str:
    """The `data:` address of a file's content; kind: its media type, such as audio/flac."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def text_of(path: Path) -> str:
    """Text of a file of the package."""
    return path.read_text(encoding="utf-8")
