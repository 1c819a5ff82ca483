from urllib.parse import quote

from django.db import models


class Category(models.Model):
    slug = models.TextField(unique=True)

    class Meta:
        db_table = "tricks_category"


class Technology(models.Model):
    slug = models.TextField(unique=True)

    class Meta:
        db_table = "tricks_technology"


class Trick(models.Model):
    slug = models.TextField()
    title = models.TextField(null=True)
    publishing_status = models.TextField()
    categories = models.ManyToManyField(Category)
    technologies = models.ManyToManyField(Technology)

    class Meta:
        db_table = "tricks_trick"

    def get_absolute_url(self):
        return f"/tricks/{quote(self.slug, safe='')}/"
