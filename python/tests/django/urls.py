"""The addresses of the tests' views."""

from django.http import HttpRequest, HttpResponse
from django.urls import path


def trick(request: HttpRequest, slug: str) -> HttpResponse:
    return HttpResponse(slug)


urlpatterns = [path("tricks/<slug>/", trick, name="trick")]
