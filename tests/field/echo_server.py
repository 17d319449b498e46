"""`python -m tests.field.echo_server PORT`: the server with an application that sends back."""

from __future__ import annotations

import os
import sys

import django

from tests.echo import echo

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from realtime.serving import serve  # noqa: E402 - only now: Django is set up

if __name__ == "__main__":
    serve(echo, "127.0.0.1", int(sys.argv[1]))
