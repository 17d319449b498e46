"""The HTTP side: ``path("realtime/", include("realtime.urls"))``."""

from django.urls import path

from .web import views

app_name = "realtime"
urlpatterns = [
    path("tasks/<str:task_id>/", views.task, name="task"),
    path("tasks/<str:task_id>/result/", views.result, name="result"),
    path("tasks/<str:task_id>/cancel/", views.cancel, name="cancel"),
    # An id with a slash that was not encoded gets the same answer as a missing task.
    path("tasks/<path:path>/", views.no_task),
    path("topics/<str:topic>/", views.topic, name="topic"),
    path("tokens/", views.tokens, name="tokens"),
    # WebSockets are routed before Django, so only plain HTTP requests arrive here.
    path("ws/", views.handshake, name="handshake"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
]
