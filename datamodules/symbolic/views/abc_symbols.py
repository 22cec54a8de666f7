"""A tune's ABC as a row of symbols, tokens or characters, and as text again."""

import re
from typing import Literal

By = Literal["token", "character"]

FIELDS = ("M", "L", "K")
"""Fields of a tune's head that are part of what is learned."""
TOKEN = re.compile(
    r'"[^"]*"'  # a chord symbol
    r"|\[[A-Za-z]:[^\]]*\]"  # a change of metre, key or unit
    r"|:*\|+[\]:]*\d?|::|\[\d"  # bar lines, repeats and endings
    r"|\(\d(?::\d*)*"  # a tuplet
    r"|[_^=]*[A-Ga-g][,']*"  # a pitch
    r"|\d*/+\d*|\d+"  # a length
    r"|[<>]+|![^!]+!|\S"
)


def head_and_body(text: str) -> tuple[str, str]:
    """The lines of FIELDS of a tune, and its music."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    is_head = [bool(re.match(r"[A-Za-z]:(?![|:])", line)) for line in lines]
    head = [line.replace(" ", "") for line, field in zip(lines, is_head, strict=True) if field and line[0] in FIELDS]
    return "\n".join(head), "\n".join(line for line, field in zip(lines, is_head, strict=True) if not field)


def symbols_of(head: str, body: str, by: By) -> tuple[list[str], list[str]]:
    """Symbols of head and body. A token is a field, or as folk-rnn parts them a pitch, a length, a bar line, a tuplet."""
    if by == "character":
        return list(head + "\n"), list(body)
    return head.splitlines(), TOKEN.findall(body)


def text_of(symbols: list[str], by: By) -> str:
    """The tune that symbols spell."""
    if by == "character":
        return "X:1\n" + "".join(symbols)
    fields = [symbol for symbol in symbols if re.fullmatch(rf"[{''.join(FIELDS)}]:.*", symbol)]
    return "\n".join(["X:1", *fields, "".join(symbol for symbol in symbols if symbol not in fields)])
