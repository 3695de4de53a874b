#!/bin/sh
# A build step of the Dockerfile: install what the project and the extras named need into /opt/venv, at the pinned
# versions, and compile it: `install.sh gateway`.
set -eu

python3 -m scripts.requirements "$@" > wanted.txt
python3 -m pip --python /opt/venv/bin/python install --no-compile --constraint scripts/constraints.txt --requirement wanted.txt
rm wanted.txt

# Tests of packages are never run here; torch imports torch/testing itself.
find /opt/venv -type d -name tests -not -path '*/torch/testing/*' -prune -exec rm -r {} +
# Compiled, a start takes half the time. One of 450 architectures in transformers/models is used, if any.
# Some files of torch are templates, or Python of a later version.
/opt/venv/bin/python -m compileall -q -x 'transformers/models/.|/torch/.*template|py312_' /opt/venv
