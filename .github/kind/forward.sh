# shellcheck shell=bash
# To be sourced: forwards the API of the release `millstream` to $API, until the script ends.
NAMESPACE=millstream-staging
API=http://127.0.0.1:18000

kubectl --namespace "$NAMESPACE" port-forward service/millstream-api-service 18000:8000 >/dev/null &
forward=$!
trap 'kill "$forward" 2>/dev/null || true' EXIT
for _ in $(seq 30); do
  if curl --silent --fail --output /dev/null "$API/livez"; then break; fi
  sleep 1
done
curl --silent --show-error --fail "$API/health"
echo

# A key for the tests, made in the cluster; all steps of a run use the same one.
MILLSTREAM_TOKEN=${MILLSTREAM_TOKEN:-$(cat "${RUNNER_TEMP:-/tmp}/admin-key" 2>/dev/null || true)}
if [[ -z $MILLSTREAM_TOKEN ]]; then
  MILLSTREAM_TOKEN=$(kubectl --namespace "$NAMESPACE" exec deployment/millstream-api -- python -m gateway.control.admin_key ci)
  (umask 077 && echo "$MILLSTREAM_TOKEN" >"${RUNNER_TEMP:-/tmp}/admin-key")
fi
export MILLSTREAM_TOKEN
