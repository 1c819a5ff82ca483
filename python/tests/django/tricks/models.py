"""Tricks as in the project's demo, and a model with every field type."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Organisation(models.Model):
    name = models.CharField(max_length=40)


class Author(models.Model):
    name = models.CharField(max_length=40)
    born = models.DateField(null=True)

    class Meta:
        ordering = ("name",)


class Category(models.Model):
    slug = models.SlugField(unique=True)

    class Meta:
        ordering = ("slug",)


class Trick(models.Model):
    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        PUBLISHED = "published", "Published"

    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="tricks")
    title = models.CharField(max_length=80)
    slug = models.SlugField()
    body = models.TextField(default="")
    status = models.CharField(max_length=20, choices=Status.choices, default=Status.PUBLISHED)
    created = models.DateTimeField()
    edited = models.DateTimeField(null=True)
    rating = models.FloatField(null=True)
    price = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    length = models.DurationField(null=True)
    day = models.DateField(null=True)
    token = models.UUIDField(default=uuid.uuid4)
    author = models.ForeignKey(Author, models.SET_NULL, null=True, related_name="tricks")
    categories = models.ManyToManyField(Category, related_name="tricks")
    tags = GenericRelation("Tag")

    class Meta:
        ordering = ("-created",)
        indexes = (
            models.Index(fields=["organisation", "-created", "-id"], name="tricks_by_created"),
        )

    def get_absolute_url(self) -> str:
        return f"/tricks/{self.slug}/"


class Comment(models.Model):
    trick = models.ForeignKey(Trick, models.CASCADE, related_name="comments")
    author = models.ForeignKey(Author, models.CASCADE, null=True)
    text = models.CharField(max_length=80)


class Cover(models.Model):
    trick = models.OneToOneField(Trick, models.CASCADE, related_name="cover")
    path = models.CharField(max_length=80)


class Tag(models.Model):
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveBigIntegerField()
    target = GenericForeignKey()
    name = models.CharField(max_length=40)


class Everything(models.Model):
    """Each field type of Django once."""

    big = models.BigIntegerField(null=True)
    data = models.BinaryField(null=True)
    truth = models.BooleanField(null=True)
    text = models.CharField(max_length=80, null=True)
    day = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    amount = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    length = models.DurationField(null=True)
    mail = models.EmailField(null=True)
    file = models.FileField(null=True)
    folder = models.FilePathField(null=True)
    real = models.FloatField(null=True)
    address = models.GenericIPAddressField(null=True)
    whole = models.IntegerField(null=True)
    json = models.JSONField(null=True)
    positive = models.PositiveIntegerField(null=True)
    positive_big = models.PositiveBigIntegerField(null=True)
    positive_small = models.PositiveSmallIntegerField(null=True)
    slug = models.SlugField(null=True)
    small = models.SmallIntegerField(null=True)
    long = models.TextField(null=True)
    time = models.TimeField(null=True)
    url = models.URLField(null=True)
    uuid = models.UUIDField(null=True)


class Tenanted(models.Manager["Tenant"]):
    """A manager that filters by what only the thread of the request knows."""

    current: Any = None

    def get_queryset(self) -> models.QuerySet[Tenant]:
        rows = super().get_queryset()
        return rows if self.current is None else rows.filter(name=self.current)


class Tenant(models.Model):
    trick = models.ForeignKey(Trick, models.CASCADE, related_name="tenants")
    name = models.CharField(max_length=40)

    objects = Tenanted()


class Shown(models.Model):
    """A view that a test makes."""

    slug = models.CharField(max_length=50)

    class Meta:
        db_table = "shown"
        managed = False


class Folder(models.Model):
    """A row that points to one of its own table."""

    name = models.CharField(max_length=40)
    parent = models.ForeignKey("self", models.CASCADE, null=True, related_name="inner")


class Priced(models.Model):
    """A row whose key is a decimal number."""

    price = models.DecimalField(primary_key=True, max_digits=9, decimal_places=2)
    name = models.CharField(max_length=40)


class Weighed(models.Model):
    """A row whose key is a real number."""

    weight = models.FloatField(primary_key=True)
    name = models.CharField(max_length=40)


if hasattr(models, "CompositePrimaryKey"):

    class Seat(models.Model):
        """A row whose key is two columns."""

        pk = models.CompositePrimaryKey("row", "number")
        row = models.CharField(max_length=10)
        number = models.IntegerField()
