#!/usr/bin/env bash
# Deploys a release of the chart, tries it out, and takes it back where it does not work. `--help` says how.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CHART=$ROOT/k8s/chart

usage() {
  cat <<'HELP'
usage: scripts/deploy.sh staging|production [options]

Installs or upgrades Millstream in a Kubernetes cluster with k8s/chart and its values-staging.yaml or
values-production.yaml, waits until all is ready and runs the chart's smoke test: one prediction there and back. If the
upgrade or the test fails, what ran before is brought back (after a first install, the release is removed; volumes and
generated passwords stay). It may be run again at any time.

  --tag TAG         tag of the images (default: the chart's appVersion)
  --registry NAME   where the images are, as in ghcr.io/OWNER/REPOSITORY (default: the chart's)
  --values FILE     further values, over those of the environment; may be given several times
  --context NAME    context of kubectl (default: the current one)
  --namespace NAME  namespace (default: millstream-staging, millstream)
  --release NAME    name of the release (default: millstream)
  --timeout TIME    longest wait for all to be ready, and for the test (default: 10m)
  --confirm         needed for production, except in CI (CI=true in the environment)
  --dry-run         print the commands and do nothing; needs no cluster
  --help            this

Needs helm (3.14 or later) and kubectl: on PATH, else those of `make tools`.
Exit codes: 0 deployed · 1 it failed, and was taken back · 2 wrong arguments or something is missing, nothing was done ·
3 it failed, and so did taking it back.
HELP
}

refuse() {
  echo "deploy: $1" >&2
  exit 2
}

say() { echo "deploy: $1"; }

# Runs a command that changes something, or says it.
run() {
  if [[ $DRY_RUN == yes ]]; then
    printf '%q ' "$@" && echo
  else
    "$@"
  fi
}

read_arguments() {
  ENVIRONMENT='' TAG='' REGISTRY='' CONTEXT='' NAMESPACE='' RELEASE=millstream TIMEOUT=10m
  CONFIRMED=no DRY_RUN=no VALUES=()
  while (($#)); do
    case $1 in
      --help | -h) usage && exit 0 ;;
      --confirm) CONFIRMED=yes ;;
      --dry-run) DRY_RUN=yes ;;
      --tag | --registry | --values | --context | --namespace | --release | --timeout)
        [[ $# -gt 1 && $2 != --* ]] || refuse "$1 needs a value (--help lists the options)"
        take "$1" "$2"
        shift
        ;;
      -*) refuse "there is no option $1 (--help lists them)" ;;
      *)
        [[ -z $ENVIRONMENT ]] || refuse "one environment at a time: $ENVIRONMENT or $1"
        ENVIRONMENT=$1
        ;;
    esac
    shift
  done
}

take() {
  case $1 in
    --tag) TAG=$2 ;;
    --registry) REGISTRY=$2 ;;
    --context) CONTEXT=$2 ;;
    --namespace) NAMESPACE=$2 ;;
    --release) RELEASE=$2 ;;
    --timeout) TIMEOUT=$2 ;;
    --values)
      [[ -f $2 ]] || refuse "--values: there is no file $2"
      VALUES+=("$2")
      ;;
  esac
}

check_arguments() {
  case $ENVIRONMENT in
    staging) NAMESPACE=${NAMESPACE:-millstream-staging} ;;
    production) NAMESPACE=${NAMESPACE:-millstream} ;;
    '') refuse "say where to: scripts/deploy.sh staging, or production (--help says more)" ;;
    *) refuse "'$ENVIRONMENT' is neither staging nor production" ;;
  esac
  [[ $TIMEOUT =~ ^[0-9]+(s|m|h)$ ]] || refuse "--timeout $TIMEOUT is not a time such as 90s or 10m"
  [[ -f $CHART/values-$ENVIRONMENT.yaml ]] || refuse "there is no k8s/chart/values-$ENVIRONMENT.yaml"
  if [[ $ENVIRONMENT == production && $CONFIRMED == no && ${CI:-} != true && $DRY_RUN == no ]]; then
    refuse "this changes production: add --confirm if you mean it, or --dry-run to see what would be done"
  fi
}

# Prints where a program is; the kits of `make tools` come after PATH.
program() {
  local kit=$ROOT/.cache/tools/bin/$1
  command -v "$1" || { [[ -x $kit ]] && echo "$kit"; } || return 1
}

check_tools() {
  HELM=$(program helm) || refuse "helm is not installed: make tools-helm, or see https://helm.sh/docs/intro/install/"
  KUBECTL=$(program kubectl) \
    || refuse "kubectl is not installed: make tools-helm, or see https://kubernetes.io/docs/tasks/tools/"
  # Helm 4 has another name for it.
  ATOMIC=--rollback-on-failure
  if [[ $("$HELM" version --short) == v3.* ]]; then ATOMIC=--atomic; fi
}

check_cluster() {
  [[ $DRY_RUN == no ]] || { CONTEXT=${CONTEXT:-CURRENT-CONTEXT} && return; }
  local known
  known=$("$KUBECTL" config get-contexts --output name | paste -sd ' ')
  [[ -n $known ]] || refuse "kubectl knows no cluster: set KUBECONFIG, or put its configuration into ~/.kube/config"
  if [[ -z $CONTEXT ]]; then
    CONTEXT=$("$KUBECTL" config current-context 2>/dev/null) \
      || refuse "kubectl has no current context: name one with --context (there are: $known)"
  fi
  [[ " $known " == *" $CONTEXT "* ]] || refuse "kubectl has no context '$CONTEXT' (there are: $known)"
  "$KUBECTL" --context "$CONTEXT" --request-timeout 15s get --raw /readyz >/dev/null \
    || refuse "the cluster of the context '$CONTEXT' does not answer"
}

helm_in() { run "$HELM" --kube-context "$CONTEXT" --namespace "$NAMESPACE" "$@"; }

# The revision that runs now; empty where there is none.
running_revision() {
  [[ $DRY_RUN == no ]] || return 0
  helm_in list --deployed --filter "^$RELEASE\$" --output json | sed -n 's/.*"revision":"\{0,1\}\([0-9]*\).*/\1/p'
}

prepare_namespace() {
  local in_cluster=("$KUBECTL" --context "$CONTEXT")
  if [[ $DRY_RUN == yes ]] || ! "${in_cluster[@]}" get namespace "$NAMESPACE" >/dev/null 2>&1; then
    run "${in_cluster[@]}" create namespace "$NAMESPACE"
  fi
  run "${in_cluster[@]}" label --overwrite namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted
}

upgrade() {
  local settings=(--values "$CHART/values-$ENVIRONMENT.yaml") file
  for file in ${VALUES[@]+"${VALUES[@]}"}; do settings+=(--values "$file"); done
  [[ -z $TAG ]] || settings+=(--set-string "images.tag=$TAG")
  [[ -z $REGISTRY ]] || settings+=(--set-string "images.registry=$REGISTRY")
  helm_in upgrade "$RELEASE" "$CHART" --install "$ATOMIC" --wait --timeout "$TIMEOUT" --history-max 10 "${settings[@]}"
}

smoke_test() { helm_in test "$RELEASE" --logs --timeout "$TIMEOUT"; }

take_back() {
  local before=$1
  if [[ -n $before ]]; then
    say "the smoke test failed: going back to revision $before" >&2
    helm_in rollback "$RELEASE" "$before" --wait --timeout "$TIMEOUT" && return
  else
    say "the smoke test failed, and nothing ran before: removing the release" >&2
    helm_in uninstall "$RELEASE" --wait --timeout "$TIMEOUT" && return
  fi
  say "taking it back FAILED as well: the broken release still runs (helm history $RELEASE -n $NAMESPACE)" >&2
  exit 3
}

main() {
  read_arguments "$@"
  check_arguments
  check_tools
  check_cluster
  local before
  before=$(running_revision) || refuse "helm could not list the releases of namespace $NAMESPACE"
  say "$ENVIRONMENT: release $RELEASE in namespace $NAMESPACE of $CONTEXT, revision ${before:-none} runs"
  prepare_namespace
  if ! upgrade; then
    say "the upgrade failed, and helm took it back (kubectl --namespace $NAMESPACE get events says more)" >&2
    exit 1
  fi
  if ! smoke_test; then
    take_back "$before"
    exit 1
  fi
  [[ $DRY_RUN == yes ]] || say "done: what runs now has answered the smoke test"
}

main "$@"
