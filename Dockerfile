# One image a service: `docker build --target gateway|inference-worker|persister|migrate|models .`; `make images` makes all.
# Packages are installed at pinned versions in stages of their own, which have what installing needs; an image takes over
# the result alone. The code comes last, so a change of it is quick.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm
# Where the worker's models come from: `mounted` (a volume on /app/models/artifacts) or `baked` (built into its image).
ARG ARTIFACTS=mounted
# What computes in the worker: `torch`, beside it OpenVINO; `cuda`, the same with a torch for GPUs; `openvino`, without torch.
ARG ENGINE=torch

# --- packages ---------------------------------------------------------------------------------------------------------

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_CACHE_DIR=/var/cache/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python3 -m venv --without-pip /opt/venv
COPY pyproject.toml ./
COPY scripts/constraints.txt scripts/hashes.txt scripts/requirements.py scripts/
COPY scripts/image scripts/image

FROM builder AS gateway-packages
RUN --mount=type=cache,target=/var/cache/pip sh scripts/image/install.sh gateway otel

FROM builder AS persister-packages
RUN --mount=type=cache,target=/var/cache/pip sh scripts/image/install.sh persister otel

FROM builder AS migrate-packages
RUN --mount=type=cache,target=/var/cache/pip sh scripts/image/install.sh migrate

# PIP_FIND_LINKS is for a place of your own that has the wheel of torch; pip reads it from the environment by itself.
FROM builder AS worker-builder
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*

FROM worker-builder AS packages-torch
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_FIND_LINKS=
# Two layers, so that a change of another package does not install torch anew.
# hadolint ignore=DL3059
RUN --mount=type=cache,target=/var/cache/pip sh scripts/image/install_torch.sh
# hadolint ignore=DL3059
RUN --mount=type=cache,target=/var/cache/pip sh scripts/image/install.sh worker torch otel object-store

# With CUDA, and what torch then needs besides: several gigabytes.
FROM worker-builder AS packages-cuda
ARG TORCH_CUDA_INDEX_URL=https://download.pytorch.org/whl/cu130
ARG PIP_FIND_LINKS=
# hadolint ignore=DL3059
RUN --mount=type=cache,target=/var/cache/pip \
    TORCH_INDEX_URL="$TORCH_CUDA_INDEX_URL" sh scripts/image/install_torch.sh --with-dependencies
# hadolint ignore=DL3059
RUN --mount=type=cache,target=/var/cache/pip sh scripts/image/install.sh worker torch otel object-store

FROM worker-builder AS packages-openvino
RUN --mount=type=cache,target=/var/cache/pip sh scripts/image/install.sh worker otel object-store

# --- what every image starts from -------------------------------------------------------------------------------------

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# tini is the first process: it forwards signals from the first moment and reaps what is orphaned. Its version is the one
# of the base image's Debian. Nothing is installed in a running container, so pip goes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
    && python3 -m pip uninstall --yes --root-user-action=ignore pip setuptools wheel \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin millstream
WORKDIR /app
LABEL org.opencontainers.image.vendor="Millstream" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["tini", "--"]

# --- gateway ----------------------------------------------------------------------------------------------------------

FROM runtime AS gateway
COPY --from=gateway-packages /opt/venv /opt/venv
COPY shared shared
COPY models/models.toml models/models.toml
COPY gateway gateway
RUN python -m compileall -q shared gateway
ENV GATEWAY_HOST=0.0.0.0 GATEWAY_PORT=8000 ADMIN_HOST=0.0.0.0 ADMIN_PORT=8010
EXPOSE 8000 8010
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "/app/shared/service/healthcheck.py", "ADMIN_PORT", "8010"]
CMD ["python", "-m", "gateway"]
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="Millstream gateway" \
      org.opencontainers.image.description="The HTTP API: accepts predictions and answers them" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# --- persister --------------------------------------------------------------------------------------------------------

FROM runtime AS persister
COPY --from=persister-packages /opt/venv /opt/venv
COPY shared shared
COPY models/models.toml models/models.toml
COPY persister persister
RUN python -m compileall -q shared persister
ENV PERSISTER_METRICS_HOST=0.0.0.0 PERSISTER_METRICS_PORT=8002
EXPOSE 8002
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "/app/shared/service/healthcheck.py", "PERSISTER_METRICS_PORT", "8002"]
CMD ["python", "-m", "persister"]
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="Millstream persister" \
      org.opencontainers.image.description="Writes finished predictions to Postgres" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# --- migrate: runs to its end; its exit code is its health ------------------------------------------------------------

FROM runtime AS migrate
COPY --from=migrate-packages /opt/venv /opt/venv
COPY shared shared
COPY models/models.toml models/models.toml
COPY migrations migrations
RUN python -m compileall -q shared migrations
USER 10001:10001
HEALTHCHECK NONE
CMD ["python", "-m", "migrations"]
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="Millstream migrate" \
      org.opencontainers.image.description="Brings the database and its list of models up to date, and ends" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# --- models: builds the artifacts, and ends ---------------------------------------------------------------------------

FROM runtime AS worker-torch
COPY --from=packages-torch /opt/venv /opt/venv

# Its image is the worker's with a little more. It downloads packages of weights when it runs, so it has pip.
FROM worker-torch AS models
ENV TQDM_DISABLE=1
COPY pyproject.toml ./
COPY scripts/constraints.txt scripts/hashes.txt scripts/requirements.py scripts/
COPY scripts/image scripts/image
RUN --mount=type=cache,target=/var/cache/pip \
    python -m ensurepip && PIP_CACHE_DIR=/var/cache/pip sh scripts/image/install.sh worker torch otel models && rm -r pyproject.toml scripts
COPY shared shared
COPY inference_worker/__init__.py inference_worker/
COPY inference_worker/tasks inference_worker/tasks
COPY models models
RUN python -m compileall -q shared inference_worker models && mkdir models/artifacts && chown 10001:10001 models/artifacts
USER 10001:10001
HEALTHCHECK NONE
CMD ["python", "-m", "models.build"]
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="Millstream models" \
      org.opencontainers.image.description="Builds the model artifacts that are missing, and ends" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# --- inference worker -------------------------------------------------------------------------------------------------

# A volume that is mounted on an empty folder takes its owner over.
FROM runtime AS artifacts-mounted
RUN mkdir --parents models/artifacts

FROM models AS artifacts-baked
RUN ["python", "-m", "models.build"]

# hadolint ignore=DL3006
FROM artifacts-${ARTIFACTS} AS artifacts

FROM runtime AS worker-cuda
COPY --from=packages-cuda /opt/venv /opt/venv
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM runtime AS worker-openvino
COPY --from=packages-openvino /opt/venv /opt/venv
# It would say at each start that there is no torch.
ENV TRANSFORMERS_NO_ADVISORY_WARNINGS=1

# hadolint ignore=DL3006
FROM worker-${ENGINE} AS inference-worker
WORKDIR /app
COPY shared shared
COPY models/models.toml models/models.toml
COPY --from=artifacts --chown=10001:10001 /app/models/artifacts models/artifacts
COPY inference_worker inference_worker
RUN python -m compileall -q shared inference_worker && install --directory --owner=10001 --group=10001 models/hub models/fetched
ENV WORKER_METRICS_HOST=0.0.0.0 WORKER_METRICS_PORT=8001 HF_HUB_DISABLE_TELEMETRY=1
EXPOSE 8001
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-I", "-S", "/app/shared/service/healthcheck.py", "WORKER_METRICS_PORT", "8001"]
CMD ["python", "-m", "inference_worker"]
ARG ENGINE
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="Millstream inference worker (${ENGINE})" \
      org.opencontainers.image.description="Runs models on what it reads from their request streams" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
