#!/usr/bin/env bash
# Installs what autoscalers read their metrics from: metrics-server (CPU), prometheus-adapter (queue depths, requests in
# flight) with the rules shipped in k8s/. The adapter asks the Prometheus that the release `millstream` brings.
set -euo pipefail
cd "$(dirname "$0")/../.."

# kind's kubelets have certificates that nobody vouches for.
helm upgrade --install metrics-server metrics-server --namespace kube-system --version 3.12.2 \
  --repo https://kubernetes-sigs.github.io/metrics-server/ --set 'args={--kubelet-insecure-tls}' --wait --timeout 5m
helm upgrade --install prometheus-adapter prometheus-adapter --namespace monitoring --create-namespace --version 4.11.0 \
  --repo https://prometheus-community.github.io/helm-charts --values k8s/prometheus-adapter/values.yaml \
  --set prometheus.url=http://millstream-prometheus.millstream-staging.svc
