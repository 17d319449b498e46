"""The URLs of the project."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from project import views

urlpatterns = [
    path("", views.page, name="page"),
    path("start/<slug:kind>/", views.start, name="start"),
    path("cancel/", views.cancel, name="cancel"),
    path("sign-in/", LoginView.as_view(template_name="demo/sign_in.html"), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("realtime/", include("realtime.urls")),
    path("admin/", admin.site.urls),
]
