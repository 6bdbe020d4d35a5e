"""The addresses of django-uws below /uws/."""

from __future__ import annotations

from django.urls import include, path
from uws.serializers import JobSerializer, NestedTokenSerializer

# Its serializer passes the token on when it makes a job, which Django refuses since 4.1: a 500 for each job.
JobSerializer._declared_fields["jobToken"] = NestedTokenSerializer(read_only=True)

urlpatterns = [path("uws/", include("uws.urls"))]
