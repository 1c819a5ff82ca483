"""`manage.py chunkflow_check`: what is wrong or slow in the lists of an application."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
)
from django.core.checks import WARNING, CheckMessage, Error, Info
from django.core.management.base import BaseCommand, CommandError
from django.test import Client

from ...addresses import addresses
from ...advice import advice
from ...checks import found
from ...probe import asking

LEVELS = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}


class Command(BaseCommand):
    """The command."""

    help = (
        "Says what is wrong or slow in the lists that views stream: settings that do not fit "
        "together, orders and filters without an index, queries for each row. It asks each view "
        "for its list, and reads its first rows. Without --url these are all views that call "
        "`stream` and whose address has no arguments. Exits with 1 if there is a warning."
    )
    # What `check` says comes with it.
    requires_system_checks: list[str] = []  # noqa: RUF012

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--url",
            action="append",
            default=[],
            metavar="PATH",
            help="a list to look at, as '/organisations/7/tricks/?q=css'; may be repeated",
        )
        parser.add_argument("--user", help="the name of the user who asks for the lists")
        parser.add_argument("--host", help="the host that they are asked for")
        parser.add_argument("--workers", type=int, help="how many processes serve")
        parser.add_argument("--json", action="store_true", help="one JSON list on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = dict(os.environ)
        if options["workers"] is not None:
            environment["WEB_CONCURRENCY"] = str(options["workers"])
        folder = Path(getattr(settings, "BASE_DIR", "."))
        messages = found(environment, folder)
        for url in options["url"] or list(self._urls(messages)):
            messages += self._of(url, options)

        unique = list(dict.fromkeys(_plain(one) for one in messages))
        if options["json"]:
            members = ("level", "id", "list", "message", "hint")
            rows = [dict(zip(members, one, strict=True)) for one in unique]
            self.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False))
        else:
            self._print(unique)
        if any(one.level >= WARNING for one in messages):
            sys.exit(1)

    def _urls(self, messages: list[CheckMessage]) -> Iterator[str]:
        """The addresses of all lists, as far as they are known."""
        is_none = True
        for path, view in addresses():
            is_none = False
            if path is None:
                messages.append(
                    Info(
                        "its address has arguments, so it was not looked at",
                        hint="Name one by --url.",
                        obj=view,
                        id="chunkflow.I050",
                    )
                )
            else:
                yield path
        if is_none:
            messages.append(
                Info(
                    "no view calls `stream`, as far as its code shows",
                    hint="Name a list by --url.",
                    id="chunkflow.I051",
                )
            )

    def _of(self, url: str, options: dict[str, Any]) -> list[CheckMessage]:
        hosts = [one.lstrip(".") for one in settings.ALLOWED_HOSTS if one != "*"]
        client = Client(SERVER_NAME=options["host"] or (hosts or ["localhost"])[0])
        session = _session(options["user"]) if options["user"] else None
        if session is not None:
            client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key

        try:
            with asking() as plans:
                status = client.get(url, secure=settings.SECURE_SSL_REDIRECT).status_code
            said = [one for plan, key in plans for one in advice(plan, key, url)]
        except Exception as error:
            kind = type(error).__name__
            return [Error(f"{kind}: {error}", obj=url, id="chunkflow.E052")]
        finally:
            if session is not None:
                session.delete()
        if not plans:
            return [
                Error(
                    f"it streams no list: its answer has the status {status}",
                    hint="If it is for users, name one by --user.",
                    obj=url,
                    id="chunkflow.E053",
                )
            ]
        return said

    def _print(self, messages: list[tuple[str, str, str, str, str]]) -> None:
        styles = {"error": self.style.ERROR, "warning": self.style.WARNING}
        for level, name, place, text, hint in sorted(messages, key=lambda one: one[2]):
            style = styles.get(level, str)
            before = f"{place}: " if place else ""
            self.stdout.write(style(f"{level}: {before}{text} ({name})"))
            if hint:
                self.stdout.write(f"    {hint}")
        serious = sum(one[0] in styles for one in messages)
        count = "nothing" if not serious else "1 thing" if serious == 1 else f"{serious} things"
        self.stdout.write(f"{count} to mend")


def _session(name: str) -> Any:
    """A session of a user. Nobody hears that the user has logged in."""
    users = get_user_model()
    try:
        user = users._default_manager.get_by_natural_key(name)
    except users.DoesNotExist:
        raise CommandError(f"there is no user `{name}`") from None

    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = user._meta.pk.value_to_string(user)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return session


def _plain(one: CheckMessage) -> tuple[str, str, str, str, str]:
    place = str(one.obj or "")
    return LEVELS[one.level], str(one.id), place, str(one.msg), str(one.hint or "")
