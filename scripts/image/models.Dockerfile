# A worker for some models: what `python -m models.image` has put together, on two images of this checkout.
ARG WORKER=millstream/inference-worker:local
ARG BUILDER=millstream/models:local

# hadolint ignore=DL3006
FROM ${BUILDER} AS packages
ARG MODELS
WORKDIR /app
COPY models/models.toml models/models.toml
RUN mkdir --parents models/artifacts/packages && python -m models.own_packages "${MODELS}"

# hadolint ignore=DL3006
FROM ${WORKER}
ARG MODELS
WORKDIR /app
COPY --from=packages /app/models/artifacts/packages models/artifacts/packages
COPY . .
ENV WORKER_MODELS=${MODELS}
