"""A model with a field of every type that Django's encoder can write, and models around it."""

import uuid

from django.conf import settings
from django.db import models

IS_POSTGRES = settings.DATABASES["default"]["ENGINE"].endswith("postgresql")


class Maker(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50)
    share = models.DecimalField(max_digits=8, decimal_places=3)
    took = models.DurationField(null=True)


class Tag(models.Model):
    name = models.CharField(max_length=50)
    made = models.DateTimeField()
    weight = models.DecimalField(max_digits=8, decimal_places=2)


class Item(models.Model):
    truth = models.BooleanField()
    maybe = models.BooleanField(null=True)
    small = models.SmallIntegerField(null=True)
    small_positive = models.PositiveSmallIntegerField(null=True)
    whole = models.IntegerField(null=True)
    positive = models.PositiveIntegerField(null=True)
    big = models.BigIntegerField(null=True)
    big_positive = models.PositiveBigIntegerField(null=True)
    ratio = models.FloatField(null=True)
    price = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    fine = models.DecimalField(max_digits=20, decimal_places=10, null=True)
    vast = models.DecimalField(max_digits=20, decimal_places=2, null=True)
    rounded = models.DecimalField(max_digits=9, decimal_places=0, null=True)
    name = models.CharField(max_length=200, null=True)
    status = models.CharField(max_length=9, choices=[("p", "Published"), ("d", "Draft")], default="d")
    rank = models.IntegerField(choices=[(1, "First"), (2, "Second")], default=1)
    body = models.TextField(null=True)
    slug = models.SlugField(null=True)
    mail = models.EmailField(null=True)
    site = models.URLField(null=True)
    # As the name says; a list is one text.
    numbers = models.CharField(max_length=50, null=True)
    address = models.GenericIPAddressField(null=True)
    ident = models.UUIDField(null=True)
    day = models.DateField(null=True)
    clock = models.TimeField(null=True)
    moment = models.DateTimeField(null=True)
    took = models.DurationField(null=True)
    doc = models.JSONField(null=True)
    file = models.FileField(null=True, upload_to="files")
    image = models.ImageField(null=True, upload_to="images")
    path = models.FilePathField(null=True, path="/")
    maker = models.ForeignKey(Maker, models.CASCADE, null=True)
    parent = models.OneToOneField("self", models.CASCADE, null=True)
    tags = models.ManyToManyField(Tag)


class Blob(models.Model):
    """What the encoder cannot write."""

    data = models.BinaryField(null=True)


if IS_POSTGRES:
    from django.contrib.postgres.fields import ArrayField

    class Listed(models.Model):
        numbers = ArrayField(models.IntegerField(), null=True)
        prices = ArrayField(models.DecimalField(max_digits=20, decimal_places=10), null=True)
        ratios = ArrayField(models.FloatField(), null=True)
        moments = ArrayField(models.DateTimeField(), null=True)
        clocks = ArrayField(models.TimeField(), null=True)
        days = ArrayField(models.DateField(), null=True)
        spans = ArrayField(models.DurationField(), null=True)
        idents = ArrayField(models.UUIDField(), null=True)
        truths = ArrayField(models.BooleanField(), null=True)
        names = ArrayField(models.CharField(max_length=50), null=True)
        nested = ArrayField(ArrayField(models.DecimalField(max_digits=8, decimal_places=2)), null=True)
