#!/usr/bin/env bash
# Packages the chart for a release: its images are those that the same workflow has pushed.
#   package_chart.sh ghcr.io/owner/repository
set -euo pipefail
registry=${1:?name the registry of the images}
chart=$(dirname "$0")/../k8s/chart

folder=$(mktemp --directory)
trap 'rm -r "$folder"' EXIT
cp --recursive --dereference "$chart" "$folder/millstream"
sed --in-place "s|^  registry: ghcr\\.io/.*|  registry: $registry|" "$folder/millstream/values.yaml"
grep --quiet --fixed-strings --line-regexp "  registry: $registry" "$folder/millstream/values.yaml"
helm package "$folder/millstream"
