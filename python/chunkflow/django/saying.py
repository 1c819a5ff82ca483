"""What is said in the log, once in a process."""

from __future__ import annotations

import logging
from typing import Any

from .canonical import UnseenError

log = logging.getLogger("chunkflow")

MOST_SAID = 1_000
"""Warnings of a process. Names of lists that are made for each request would fill the log."""

_said: set[Any] = set()


def warn_once(what: Any, text: str) -> None:
    """Logs a text, once for what it is about."""
    if what in _said or len(_said) >= MOST_SAID:
        return
    _said.add(what)
    log.warning("%s", text)
    if len(_said) == MOST_SAID:
        log.warning("no more is said of lists that are not cached")


def say_uncached(error: UnseenError, name: str) -> None:
    """Says once for each list and kind of cause why it is not cached."""
    if error.what == "tests":
        return
    if error.what == "transaction":
        warn_once(
            (name, "transaction"),
            f"the list {name} is not cached in an open transaction, and is held in memory as a "
            "whole; if the transaction is that of ATOMIC_REQUESTS, decorate the view with "
            "@transaction.non_atomic_requests",
        )
        return
    remedy = f"; {error.remedy}" if error.remedy else ""
    # The cause itself may hold a statement, which may be another for each request.
    warn_once(
        (name, type(error).__name__, error.remedy),
        f"the list {name} is not cached: {error.what}{remedy}",
    )
