#!/usr/bin/env bash
# Fills the queue of the sentiment models and waits until their worker's autoscaler has scaled out because of its depth,
# and then until it has scaled in again.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=.github/kind/forward.sh
source .github/kind/forward.sh

HPA=millstream-worker-sentiment
PATIENCE_S=600

read_hpa() { kubectl --namespace "$NAMESPACE" get hpa "$HPA" --output "jsonpath=$1"; }

submit() {
  python3 -c 'import json; print(json.dumps({"model": "sentiment-analysis", "texts": ["The mill ran all night. " * 20] * 256}))' \
    | curl --silent --output /dev/null --write-out '%{http_code} ' --header 'content-type: application/json' \
      --oauth2-bearer "$MILLSTREAM_TOKEN" \
      --data @- "$API/api/v1/predict/batch?wait=0" || echo "no answer"
}

# Waits until there are more replicas than at the start, under load, or no more, without.
wait_until_scaled() {
  local direction=$1 end=$((SECONDS + PATIENCE_S)) now
  while ((SECONDS < end)); do
    now=$(read_hpa '{.status.currentReplicas}')
    echo "$SECONDS s: $now replicas, wanted $(read_hpa '{.status.desiredReplicas}'), metrics $(read_hpa '{.status.currentMetrics}')"
    if [[ $direction == out ]] && ((now > before)); then return; fi
    if [[ $direction == in ]] && ((now <= before)); then return; fi
    if [[ $direction == out ]]; then for _ in 1 2 3 4 5 6 7 8; do submit; done; fi
    sleep 10
  done
  kubectl --namespace "$NAMESPACE" describe hpa "$HPA"
  echo "not scaled $direction within $PATIENCE_S s" >&2
  exit 1
}

before=$(read_hpa '{.status.currentReplicas}')
before=${before:-1}
wait_until_scaled out
if ! kubectl --namespace "$NAMESPACE" describe hpa "$HPA" | grep 'SuccessfulRescale.*external metric'; then
  echo "it has scaled, but not because of its queue: is prometheus-adapter answering?" >&2
  kubectl get --raw /apis/external.metrics.k8s.io/v1beta1 >&2 || true
  exit 1
fi
wait_until_scaled in
