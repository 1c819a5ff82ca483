"""The app, for `INSTALLED_APPS`: it brings `manage.py chunkflow_check`."""

from django.apps import AppConfig


class ChunkflowConfig(AppConfig):
    """`chunkflow.django` in `INSTALLED_APPS`."""

    name = "chunkflow.django"
    label = "chunkflow"
    verbose_name = "Chunkflow"

    def ready(self) -> None:
        """Registers the checks of `manage.py check`."""
        from . import checks  # noqa: F401
