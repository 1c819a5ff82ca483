from django.db import models


class Organisation(models.Model):
    name = models.CharField(max_length=40)


class Author(models.Model):
    name = models.CharField(max_length=40)


class Category(models.Model):
    slug = models.SlugField(unique=True)


class Technology(models.Model):
    slug = models.SlugField(unique=True)


class Trick(models.Model):
    slug = models.SlugField(unique=True, max_length=80)
    title = models.CharField(max_length=120)
    teaser = models.TextField()
    created = models.DateTimeField()
    organisation = models.ForeignKey(Organisation, models.CASCADE)
    author = models.ForeignKey(Author, models.SET_NULL, null=True)
    categories = models.ManyToManyField(Category)
    technologies = models.ManyToManyField(Technology)

    class Meta:
        indexes = (models.Index(fields=["organisation", "-created", "-id"], name="listed"),)

    def get_absolute_url(self):
        return f"/tricks/{self.slug}/"
