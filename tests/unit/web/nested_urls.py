"""The service's addresses inside of another namespace, as a project's API has them."""

from django.urls import include, path

api = ([path("live/", include("realtime.urls"))], "api")
urlpatterns = [path("api/", include(api))]
