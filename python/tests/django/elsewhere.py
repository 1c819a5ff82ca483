"""A module of the project that is in no application."""

WHO = "nobody"


def who() -> str:
    return WHO
