#!/usr/bin/env bash
# Asks the staging deployment from outside the cluster what a first user would.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=.github/kind/forward.sh
source .github/kind/forward.sh
make smoke "URL=$API"
