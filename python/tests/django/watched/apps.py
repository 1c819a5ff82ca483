from django.apps import AppConfig


class Watched(AppConfig):
    name = "watched"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from chunkflow.django.watch import watch

        from .models import Category, Comment, Mark, Note, Restaurant, Trick, Vote

        watch(Trick, Category, Restaurant, via={Vote: "trick", Note: ["comment__trick"]})
        watch("watched.Trick")  # Twice does no harm.
        watch(Comment, Mark)
