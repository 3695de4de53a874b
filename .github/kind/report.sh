#!/usr/bin/env bash
# What a person wants to see of the cluster when a deployment has failed.
set -uo pipefail

kubectl get all,hpa,networkpolicies,pvc --all-namespaces --output wide
kubectl get events --all-namespaces --sort-by .lastTimestamp | tail -n 100
kubectl --namespace millstream-staging describe pods
for pod in $(kubectl --namespace millstream-staging get pods --output name); do
  echo "--- $pod"
  kubectl --namespace millstream-staging logs --all-containers --tail 50 "$pod"
done
