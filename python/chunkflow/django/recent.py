"""Answers that are remembered within a bound, those that were asked for last."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Name = TypeVar("Name")
Answer = TypeVar("Answer")


class Recent(Generic[Name, Answer]):
    """Answers by name, at most twice `most`.

    When there are `most` they become the old ones, which are still found, and the old ones are
    dropped. So an answer that was just found stays while `most` others are asked for.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._new: dict[Name, Answer] = {}
        self._old: dict[Name, Answer] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def get(self, name: Name) -> Answer | None:
        """The answer; `None` if it is not remembered."""
        found = self._new.get(name)
        if found is None:
            found = self._old.get(name)
            if found is not None:
                self.put(name, found)
        return found

    def put(self, name: Name, answer: Answer) -> None:
        """Remembers an answer."""
        with self._lock:
            if len(self._new) >= self.most and name not in self._new:
                self._new, self._old = {}, self._new
            self._new[name] = answer

    def clear(self) -> None:
        """Forgets all."""
        with self._lock:
            self._new, self._old = {}, {}
