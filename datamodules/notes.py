"""Keep the notes of the mp3 decoder off the terminal: what is wrong with a file is said once, in a sentence with its name."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_NOTE = re.compile(rb"(Note|Warning): |.*libmpg123|\s*$")


@contextmanager
def without_notes() -> Iterator[None]:
    """Within, file descriptor 2 is held back; at the end all lines but libmpg123's are passed on.

    libsndfile has no switch for them. Only for the main thread, which a process that forks or draws a progress bar is in:
    held back for longer, other threads' lines would come late.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        terminal = os.dup(2)
    except OSError:  # no terminal, no notes
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # more than a pipe holds is lost instead of waited for
    os.dup2(writer, 2)
    os.close(writer)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        _pass_on(reader)


def _pass_on(reader: int) -> None:
    os.set_blocking(reader, False)
    said = b""
    with suppress(BlockingIOError):  # a process forked meanwhile still holds the other end
        while part := os.read(reader, 1 << 16):
            said += part
    os.close(reader)
    kept = b"".join(line for line in said.splitlines(keepends=True) if not _NOTE.match(line))
    if kept:
        os.write(2, kept)
