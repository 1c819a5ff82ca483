"""A module whose value a program changes."""

WHO = "nobody"
