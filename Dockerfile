# The service: one image for every part of it, from lock files. Build: `docker compose build`.
# A site pins the base by digest: ESAP_PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:... (docs/deploy.md).
# checkov:skip=CKV_DOCKER_2:docker-compose.yaml and the Helm chart have a check for each part, and the parts differ
# checkov:skip=CKV_DOCKER_7:the base's version stands in the argument
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
COPY requirements/uv.txt requirements/deploy.txt /build/
RUN python -m venv /build/uv \
    && /build/uv/bin/python -m pip install --no-cache-dir --quiet --require-hashes -r /build/uv.txt
RUN python -m venv --without-pip /opt/venv \
    && /build/uv/bin/uv pip sync --quiet --no-cache --require-hashes --compile-bytecode \
        --python /opt/venv/bin/python /build/deploy.txt
COPY dags /opt/esap/dags
COPY plugins /opt/esap/plugins
COPY config /opt/esap/config
COPY runner /opt/esap/runner
COPY deploy/airflow.cfg /opt/airflow/airflow.cfg
COPY deploy/bin /opt/esap/bin
# Compiled here, since the containers' file systems are read-only; a host's odd file modes end here too.
RUN /opt/venv/bin/python -m compileall -q /opt/esap/dags /opt/esap/plugins \
    && chmod -R u=rwX,go=rX /opt/esap /opt/airflow

FROM ${PYTHON_IMAGE} AS service
LABEL org.opencontainers.image.title="esap-batch" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="NOASSERTION"
# What Debian has mended since the base was made: one that is pinned by digest gets no newer.
# Any user id will do, as long as its group is 0: what must be written belongs to that group.
# /entrypoint is what the probes of Airflow's Helm chart call.
RUN apt-get update -q \
    && apt-get upgrade -q -y \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --uid 50000 --gid 0 --no-create-home --home-dir /opt/airflow esap \
    && install -d -m 0775 -o 50000 -g 0 /opt/airflow/logs /opt/airflow/audit /var/lib/esap-grid/storage /run/esap-grid \
    && ln -s /opt/esap/bin/start /entrypoint
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/esap /opt/esap
COPY --from=build /opt/airflow/airflow.cfg /opt/airflow/airflow.cfg
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow \
    HOME=/tmp \
    USER=esap
WORKDIR /opt/airflow
USER 50000:0
ENTRYPOINT ["/opt/esap/bin/start"]
CMD ["airflow", "version"]

# For DAGs from git (docker-compose.git.yaml); ssh is for repositories with a deploy key.
FROM service AS git
USER 0
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends git openssh-client \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
USER 50000:0

# What is built where no stage is named.
FROM service
