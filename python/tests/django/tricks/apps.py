from django.apps import AppConfig


class TricksConfig(AppConfig):
    name = "tricks"
    default_auto_field = "django.db.models.BigAutoField"
