"""The serializers of the tests' views."""

from __future__ import annotations

from typing import Any

from django.template.defaultfilters import date
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from rest_framework import serializers
from tricks.models import Category, Everything, Trick

from chunkflow.django import Links


def serialize(trick: Trick) -> dict[str, Any]:
    return {
        "id": trick.pk,
        "title": trick.title,
        "created": trick.created,
        "edited": trick.edited,
        "rating": trick.rating,
        "price": trick.price,
        "length": trick.length,
        "day": trick.day,
        "token": trick.token,
        "author": trick.author.name if trick.author else None,
        "categories": [category.slug for category in trick.categories.all()],
        "comments": [comment.text for comment in trick.comments.all()],
    }


def in_words(trick: Trick) -> dict[str, Any]:
    """What language and time zone decide."""
    return {
        "id": trick.pk,
        "word": gettext("Yes"),
        "created": date(timezone.localtime(trick.created), "DATETIME_FORMAT"),
    }


def with_links(trick: Trick, links: Links) -> dict[str, Any]:
    return {
        "id": trick.pk,
        "url": links(trick.get_absolute_url()),
        "reversed": links(reverse("trick", args=[trick.slug])),
    }


def broken(trick: Trick) -> dict[str, Any]:
    if trick.slug.endswith("-120"):
        raise RuntimeError("this trick is broken")
    return {"id": trick.pk}


class CategorySerializer(serializers.ModelSerializer[Category]):
    class Meta:
        model = Category
        fields = ("slug",)


class TrickSerializer(serializers.ModelSerializer[Trick]):
    categories = CategorySerializer(many=True)
    name = serializers.SerializerMethodField()

    class Meta:
        model = Trick
        fields = ("id", "title", "created", "length", "price", "token", "categories", "name")

    def get_name(self, trick: Trick) -> str:
        return f"{trick.title} by {trick.author}"


class Linked(serializers.HyperlinkedModelSerializer[Trick]):
    class Meta:
        model = Trick
        fields = ("url", "title")


class EverythingSerializer(serializers.ModelSerializer[Everything]):
    class Meta:
        model = Everything
        exclude = ("data", "folder")
