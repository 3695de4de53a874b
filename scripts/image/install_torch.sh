#!/bin/sh
# A build step of the Dockerfile: install torch alone into /opt/venv, and take out what no model needs to run.
# `--with-dependencies` is for a build with CUDA, which is in packages of its own: pinned by that torch, without hashes.
set -eu

alone=--no-deps
[ "${1:-}" = --with-dependencies ] && alone=
install() {
    # shellcheck disable=SC2086 # it is one option, or none
    python3 -m pip --python /opt/venv/bin/python install --no-compile $alone "$@"
}

# PyTorch's own index has CPU builds, the default one may have gigabytes of CUDA (the gate on image sizes sees it).
torch=$(grep '^torch==' scripts/constraints.txt)
install --index-url "${TORCH_INDEX_URL:?the Dockerfile sets it}" --retries 0 --timeout 10 "$torch" || {
    echo "no $torch from $TORCH_INDEX_URL: taking it from the default index" >&2
    install "$torch"
}

# Headers, CMake files, C++ tests and tools, 200 MB; torch_shm_manager is what torch.multiprocessing starts.
cd "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch"
rm -rf test include share
find bin -mindepth 1 -not -name torch_shm_manager -delete
# Symbols for debuggers and static linking, 90 MB.
strip --strip-unneeded lib/libtorch_cpu.so lib/libtorch_python.so
