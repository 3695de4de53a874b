#!/usr/bin/env bash
# Makes a fresh machine ready to run and develop Millstream. `--help` says how.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<'HELP'
usage: scripts/setup.sh [options]

Checks what the machine must have (Python 3.11 or later with venv, make, curl), then makes .venv with everything
installed, .env with fresh passwords, and the model artifacts. What is there already is kept: it may be run again at any
time. Afterwards `make up` starts everything.

  --dev               the development tools as well, and those of `make validate`
  --no-models         leave the models (0.5 GB) to the first `make up`
  --install-packages  install what is missing with apt (Debian, Ubuntu), by sudo where you are not root
  --dry-run           say what would be done and do nothing
  --help              this

PYTHON names another Python than python3, as in: PYTHON=python3.12 scripts/setup.sh
HELP
}

refuse() {
  echo "setup: $1" >&2
  exit 2
}

say() { echo "setup: $1"; }

run() {
  if [[ $DRY_RUN == yes ]]; then
    printf 'would run: ' && printf '%q ' "$@" && echo
  else
    "$@"
  fi
}

read_arguments() {
  DEV=no MODELS=yes INSTALL=no DRY_RUN=no
  while (($#)); do
    case $1 in
      --help | -h) usage && exit 0 ;;
      --dev) DEV=yes ;;
      --no-models) MODELS=no ;;
      --install-packages) INSTALL=yes ;;
      --dry-run) DRY_RUN=yes ;;
      *) refuse "there is no option $1 (--help lists them)" ;;
    esac
    shift
  done
}

# Debian's names of the packages that are missing, one a line.
missing_packages() {
  if ! command -v "$PYTHON" >/dev/null; then
    echo python3
    echo python3-venv
  elif ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
    echo python3-venv
  fi
  local each
  for each in make curl; do
    command -v "$each" >/dev/null || echo "$each"
  done
  [[ $DEV == no ]] || missing_gate_packages
}

# What `make validate` needs and neither pip nor npm can bring.
missing_gate_packages() {
  command -v git >/dev/null || echo git
  command -v npm >/dev/null || echo npm
  command -v promtool >/dev/null || echo prometheus
  command -v amtool >/dev/null || echo prometheus-alertmanager
}

install_packages() {
  local missing as_root=()
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]})) || { say "the system has all that is needed" && return; }
  if [[ $INSTALL == no ]]; then
    refuse "missing, by Debian's names: ${missing[*]}. Install them; on Debian and Ubuntu --install-packages does so"
  fi
  command -v apt-get >/dev/null || refuse "missing: ${missing[*]}, and there is no apt-get here to install them with"
  ((EUID == 0)) || as_root=(sudo)
  run ${as_root[@]+"${as_root[@]}"} apt-get -qq update
  run ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install --yes --no-install-recommends "${missing[@]}"
}

check_python() {
  if ! command -v "$PYTHON" >/dev/null; then
    [[ $DRY_RUN == yes ]] || refuse "there is still no $PYTHON"
    return 0
  fi
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || refuse "$PYTHON is $("$PYTHON" --version), not 3.11 or later: name another (PYTHON=python3.12 scripts/setup.sh)"
}

main() {
  PYTHON=${PYTHON:-python3}
  read_arguments "$@"
  install_packages
  check_python
  cd "$ROOT"
  local in_make=(make "PYTHON=$PYTHON")
  say "packages into .venv"
  if [[ $DEV == yes ]]; then
    run "${in_make[@]}" .venv/.installed-dev tools
  else
    run "${in_make[@]}" .venv/.installed
  fi
  say "settings into .env"
  run "${in_make[@]}" env
  if [[ $MODELS == yes ]]; then
    say "models into models/artifacts"
    run "${in_make[@]}" models
  fi
  say "ready: make up starts everything, make help lists the rest"
}

main "$@"
