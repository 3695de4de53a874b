# One image a service: `docker build --target gateway|inference-worker|persister|migrate|models .`
# Packages are installed in stages of their own, at pinned versions; the code comes last, so a change of it is quick.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin millstream
WORKDIR /app

FROM base AS packages
WORKDIR /build
RUN python3 -m venv /opt/venv
COPY pyproject.toml ./
COPY scripts/constraints.txt scripts/requirements.py scripts/

FROM packages AS gateway-packages
RUN --mount=type=cache,target=/tmp/.cache/pip \
    python -m scripts.requirements gateway > wanted.txt \
    && pip install --no-compile -c scripts/constraints.txt -r wanted.txt && python -m compileall -q /opt/venv

FROM packages AS persister-packages
RUN --mount=type=cache,target=/tmp/.cache/pip \
    python -m scripts.requirements persister > wanted.txt \
    && pip install --no-compile -c scripts/constraints.txt -r wanted.txt && python -m compileall -q /opt/venv

FROM packages AS migrate-packages
RUN --mount=type=cache,target=/tmp/.cache/pip \
    python -m scripts.requirements migrate > wanted.txt \
    && pip install --no-compile -c scripts/constraints.txt -r wanted.txt && python -m compileall -q /opt/venv

# PyTorch's own index has CPU builds, the default one may pull gigabytes of CUDA. PIP_FIND_LINKS is for a place of your
# own that has the wheel; pip reads it from the environment by itself. compileall fails on files that are templates.
FROM packages AS worker-packages
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_FIND_LINKS=
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/tmp/.cache/pip \
    torch=$(grep '^torch==' scripts/constraints.txt) \
    && { pip install --no-compile --no-deps --index-url "$TORCH_INDEX_URL" --retries 0 --timeout 10 "$torch" \
         || pip install --no-compile --no-deps "$torch"; }
RUN --mount=type=cache,target=/tmp/.cache/pip \
    python -m scripts.requirements worker > wanted.txt \
    && pip install --no-compile -c scripts/constraints.txt -r wanted.txt \
    && { python -m compileall -q -x 'transformers/models' /opt/venv || true; }

FROM worker-packages AS models-packages
RUN --mount=type=cache,target=/tmp/.cache/pip \
    python -m scripts.requirements worker models > wanted.txt \
    && pip install --no-compile -c scripts/constraints.txt -r wanted.txt

FROM base AS gateway
COPY --from=gateway-packages /opt/venv /opt/venv
COPY shared shared
COPY models/models.toml models/models.toml
COPY gateway gateway
RUN python -m compileall -q shared gateway
ENV GATEWAY_HOST=0.0.0.0 GATEWAY_PORT=8000
EXPOSE 8000
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["python", "-m", "gateway"]

FROM base AS persister
COPY --from=persister-packages /opt/venv /opt/venv
COPY shared shared
COPY models/models.toml models/models.toml
COPY persister persister
RUN python -m compileall -q shared persister
ENV PERSISTER_METRICS_HOST=0.0.0.0 PERSISTER_METRICS_PORT=8002
EXPOSE 8002
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8002/readyz', timeout=4)"]
CMD ["python", "-m", "persister"]

FROM base AS migrate
COPY --from=migrate-packages /opt/venv /opt/venv
COPY shared shared
COPY models/models.toml models/models.toml
COPY migrations migrations
USER 10001:10001
# It runs to its end: its exit code is its health.
HEALTHCHECK NONE
CMD ["python", "-m", "migrations"]

# A volume that is mounted on the empty folder of artifacts takes its owner over.
FROM base AS inference-worker
COPY --from=worker-packages /opt/venv /opt/venv
COPY shared shared
COPY models/models.toml models/models.toml
COPY inference_worker inference_worker
RUN python -m compileall -q shared inference_worker && mkdir models/artifacts && chown 10001:10001 models/artifacts
ENV WORKER_METRICS_HOST=0.0.0.0 WORKER_METRICS_PORT=8001 HF_HUB_DISABLE_TELEMETRY=1
EXPOSE 8001
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8001/readyz', timeout=4)"]
CMD ["python", "-m", "inference_worker"]

FROM base AS models
COPY --from=models-packages /opt/venv /opt/venv
COPY shared shared
COPY models models
RUN mkdir models/artifacts && chown 10001:10001 models/artifacts
USER 10001:10001
HEALTHCHECK NONE
CMD ["python", "-m", "models.build"]
