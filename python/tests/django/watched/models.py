"""Rows of each kind whose changes are told."""

import datetime

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.functions import Length

from chunkflow.django.managers import ChangesManager, ChangesQuerySet

NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.timezone.utc)


class Organisation(models.Model):
    name = models.CharField(max_length=40)


class Author(models.Model):
    name = models.CharField(max_length=40)


class Category(models.Model):
    slug = models.SlugField(unique=True)


class TrickQuerySet(ChangesQuerySet):
    def published(self) -> "TrickQuerySet":
        return self.filter(is_published=True)


class Trick(models.Model):
    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=80)
    body = models.TextField(default="")
    is_published = models.BooleanField(default=True)
    created = models.DateTimeField(default=NOON)
    organisation = models.ForeignKey(Organisation, models.CASCADE, related_name="tricks")
    author = models.ForeignKey(Author, models.SET_NULL, null=True, blank=True)
    categories = models.ManyToManyField(Category, related_name="tricks")
    alike = models.ManyToManyField("self")
    marks = GenericRelation("Mark")
    sponsors = models.ManyToManyField(Author, through="Sponsorship", related_name="sponsored")

    objects = TrickQuerySet.as_manager()
    plain = models.Manager()

    class Meta:
        ordering = ("-created",)
        base_manager_name = "objects"


class Lesson(Trick):
    class Meta:
        proxy = True


class Sponsorship(models.Model):
    trick = models.ForeignKey(Trick, models.CASCADE)
    author = models.ForeignKey(Author, models.CASCADE)
    amount = models.IntegerField(default=0)


class Comment(models.Model):
    trick = models.ForeignKey(Trick, models.CASCADE)
    text = models.TextField()


class Mark(models.Model):
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.PositiveBigIntegerField()
    target = GenericForeignKey()
    name = models.CharField(max_length=40)


class Vote(models.Model):
    trick = models.ForeignKey(Trick, models.CASCADE)


class Note(models.Model):
    comment = models.ForeignKey(Comment, models.CASCADE, null=True)


class Place(models.Model):
    name = models.CharField(max_length=40, db_index=True)


class Restaurant(Place):
    stars = models.IntegerField(default=0, db_index=True)


class Item(models.Model):
    """Its changes are told by its manager alone."""

    name = models.CharField(max_length=40, unique=True)
    rank = models.IntegerField(default=0)
    organisation = models.ForeignKey(Organisation, models.CASCADE)

    objects = ChangesManager()

    class Meta:
        ordering = ("rank",)
        indexes = (models.Index(Length("name"), name="item_length"),)
