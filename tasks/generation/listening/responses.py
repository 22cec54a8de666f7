"""Files that listeners send back, read and held against the key of their test."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datamodules.errors import DataError

BACKGROUND = {"training": 90, "listening": 4, "works": 2, "device": 2}
"""Questions about the listener, and the largest answer; answers are whole numbers from 0."""
SCALES = ("plausible", "pleasant")


def read_key(path: Path) -> dict[str, Any]:
    """The key of a test: its name and who wrote each excerpt. Raises DataError where it is none."""
    key = _json(path, "the key that was written beside the listening page")
    if not isinstance(key, dict) or not {"test", "human", "excerpts"} <= set(key):
        raise DataError(f"{path} is no key of a listening test: expected key.json as it was written beside the page")
    return key


def read_responses(paths: Sequence[Path], key: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Responses of a test, each listener once, and a sentence for each file that was left out.

    paths: files, or folders of .json files
    """
    found, left_out, known = [], [], {}
    files = [file for path in map(Path, paths) for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    for file in files:
        try:
            response = checked(_json(file, "answers downloaded from the listening page"), key, str(file))
            if response["listener"] in known:
                raise DataError(f"{file} holds the answers of {known[response['listener']]} again")
        except DataError as reason:
            left_out.append(str(reason))
            continue
        known[response["listener"]] = file
        found.append(response)
    return found, left_out


def checked(response: Any, key: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The response, if everything in it can be an answer to this test.

    Raises:
        DataError: it is not; the sentence has the name and what is wrong.
    """
    if wrong := _wrong(response, key):
        raise DataError(f"{name} is left out: {wrong}; expected the file as the listening page wrote it")
    return response


def _wrong(response: Any, key: Mapping[str, Any]) -> str | None:
    """What is wrong with a response; None where nothing is."""
    if not isinstance(response, dict) or not isinstance(response.get("listener"), str):
        return "it is no response"
    if response.get("test") != key["test"]:
        return "it belongs to another test"
    background = response.get("background")
    if not isinstance(background, dict) or any(not _whole(background.get(name), 0, most) for name, most in BACKGROUND.items()):
        return "what it says about the listener cannot be"
    for name, wrong in (("pairs", _wrong_pair), ("singles", _wrong_single)):
        answers = response.get(name)
        if not isinstance(answers, list) or any(not isinstance(answer, dict) for answer in answers):
            return f"its {name} are no list of answers"
        for number, answer in enumerate(answers, 1):
            if said := wrong(answer, key["excerpts"]):
                return f"number {number} of its {name} {said}"
    return None


def _wrong_pair(answer: Mapping[str, Any], excerpts: Mapping[str, Any]) -> str | None:
    two = [answer.get("first"), answer.get("second")]
    if any(not isinstance(name, str) or name not in excerpts for name in two) or two[0] == two[1]:
        return "compares no two pieces of this test"
    return None if answer.get("chosen") in two else "chooses neither piece"


def _wrong_single(answer: Mapping[str, Any], excerpts: Mapping[str, Any]) -> str | None:
    if not isinstance(answer.get("id"), str) or answer["id"] not in excerpts:
        return "judges no piece of this test"
    if not isinstance(answer.get("real"), bool):
        return "does not say who wrote it"
    return None if all(_whole(answer.get(name), 1, 5) for name in SCALES) else "has a mark that is not 1 to 5"


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _json(path: Path, expected: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: expected {expected}") from error
