"""Django's settings for a site with nothing but django-uws.

Users are told by a header and looked up by name, which is the cheapest way there is.
"""

from __future__ import annotations

import os
from typing import Any

SECRET_KEY = "not a secret: this site lives for a minute, on loopback"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "bench.django_uws.urls"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "uws"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["DJANGO_DATABASE"],
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL", "timeout": 30},
    }
}
USE_TZ = False
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["bench.django_uws.settings.ByHeader"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}


class ByHeader:
    """Authentication of REST framework."""

    def authenticate(self, request: Any) -> Any:
        from django.contrib.auth.models import User

        return User.objects.get(username=request.headers["X-User"]), None

    def authenticate_header(self, _request: Any) -> str:
        return "X-User"
