"""Self-contained HTML pages: body, data, style and script -> one file with an audio player."""

import base64
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def page(title: str, body: str, *, data: Any = None, style: str = "", script: str = "", media: str = "data:") -> str:
    """Fill in the page template.

    Args:
        title: plain text
        body: HTML below the title
        data: content of the JSON element `data` for the script
        style: CSS
        script: JavaScript, appended to the player's (one sound at a time, space pauses)
        media: sources of audio, as in a Content-Security-Policy
    """
    parts = {
        "title": html.escape(title),
        "body": body,
        # Escaped, so that the data cannot contain tags.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "style": style,
        "script": text_of(FOLDER / "player.js") + script,
        "media": media,
    }
    return filled(text_of(FOLDER / "page.html"), parts)


def filled(template: str, parts: Mapping[str, str]) -> str:
    """Replace {{names}} of a template in a single pass, so that braces inside the parts are kept."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def embedded(content: bytes, kind: str) -> str:
    """Data URL of a file's content; kind: media type such as audio/flac."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def text_of(path: Path) -> str:
    """Text of a UTF-8 file."""
    return path.read_text(encoding="utf-8")
