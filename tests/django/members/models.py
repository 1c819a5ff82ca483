"""People of organisations, as a site with tenants has them."""

from django.conf import settings
from django.db import models


class Role(models.Model):
    name = models.CharField(max_length=50)


class Member(models.Model):
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    organisation_id = models.IntegerField()
    roles = models.ManyToManyField(Role)
