#!/bin/sh
# A build step of the Dockerfile: install what the project and the extras named need into /opt/venv, at the pinned
# versions and only as the files whose hashes are known, and compile it: `install.sh gateway`.
set -eu

venv=${VENV:-/opt/venv}
python3 -m scripts.requirements "$@" > wanted.txt
python3 -m pip --python "$venv/bin/python" install --no-compile --require-hashes --requirement wanted.txt
rm wanted.txt

packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if [ -d "$packages/openvino" ]; then
    # Of OpenVINO, what computes on a CPU and reads what torch or itself has written stays: the rest is 90 MB.
    for part in intel_gpu_plugin intel_npu_plugin auto_plugin auto_batch_plugin hetero_plugin gguf_frontend jax_frontend \
        onnx_frontend paddle_frontend tensorflow_frontend tensorflow_lite_frontend; do
        rm -f "$packages/openvino/libs/libopenvino_$part.so"*
    done
    rm -rf "$packages/openvino/libs/cache.json" "$packages/openvino/include" "$packages/openvino/cmake"
    # For compilers and command lines alone, 20 MB; without hf_xet, 11 MB, the hub is read over plain HTTP.
    unused="setuptools _distutils_hack pkg_resources openvino_telemetry hf_xet"
    case " $* " in
        *" models "*) ;; # quantizing draws with these two
        *) unused="$unused pygments rich" ;;
    esac
    for package in $unused; do
        rm -rf "${packages:?}/$package" "${packages:?}/$package"-*
    done
    rm -f "$packages/distutils-precedence.pth"
fi

if [ -d "$packages/PIL" ]; then
    # Of Pillow, what reads the formats of inference_worker/tasks/images.py stays: AVIF and fonts are 9 MB.
    rm -f "$packages"/PIL/_avif.* "$packages"/PIL/_imagingft.* "$packages"/PIL/_imagingtk.*
    for part in libavif libfreetype libharfbuzz libbrotli libpng16; do
        rm -f "$packages/pillow.libs/$part"*
    done
    rm -f "$packages"/torch/lib/*_test.so "$packages"/torch/lib/libaoti_custom_ops.so "$packages"/torch/lib/libbackend_with_compiler.so
    if command -v strip > /dev/null; then # symbols for debuggers, 30 MB
        for package in PIL aiohttp hiredis obstore regex tokenizers uvloop yaml; do
            [ ! -d "$packages/$package" ] || find "$packages/$package" -name '*.so' -exec strip --strip-unneeded {} +
        done
    fi
fi

if [ -d "$packages/transformers" ] && [ ! -d "$packages/torch" ]; then
    # Without torch there are no models: of their folders, which transformers reads through at each start, what says
    # how a model is made up and how it reads texts stays.
    find "$packages/transformers/models" -mindepth 2 -not -path '*/auto/*' -name '*.py' \
        \( -name 'modeling_*' -o -name 'modular_*' -o -name 'convert_*' -o -name 'image_processing_*' \
        -o -name 'video_processing_*' -o -name 'processing_*' -o -name 'feature_extraction_*' \) -delete
fi

# Stubs are for type checkers, 6 MB. Tests of packages are never run here; torch imports torch/testing itself.
find "$venv" -name '*.pyi' -delete
find "$venv" -type d -name tests -not -path '*/torch/testing/*' -prune -exec rm -r {} +
# Compiled, a start takes half the time. One of 450 architectures in transformers/models is used, if any. What compiles
# models, tests operators or draws graphs is imported by none of the built-in tasks: 20 MB, and it works all the same.
# Some files of torch are templates, or Python of a later version.
not_compiled='transformers/models/.|/torch/.*template|py312_|/torch/_inductor/(codegen|fx_passes|kernel)/'
not_compiled="$not_compiled|/torch/testing/_internal/(?!common_dtype|logging|distributed)"
not_compiled="$not_compiled|/networkx/|/sympy/(physics|stats|combinatorics)/"
"$venv/bin/python" -m compileall -q -x "$not_compiled" "$venv"
