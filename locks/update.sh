#!/bin/sh
# Resolve every pin in one go, then cut the smaller locks out of that same resolution.
#   sh locks/update.sh UV
set -eu
cd "$(dirname "$0")/.."
compile() {
    "$uv" pip compile --quiet --universal --no-annotate --no-emit-index-url \
        --no-emit-find-links --python-version 3.11 pyproject.toml "$@"
}
uv=$1
export UV_CUSTOM_COMPILE_COMMAND="make lock"
compile --generate-hashes --upgrade --extra test --output-file locks/test.txt
compile --generate-hashes --extra notebooks --constraints locks/test.txt --output-file locks/notebooks.txt
compile --generate-hashes --constraints locks/test.txt --output-file locks/app.txt
# environment.yml: pip takes no hashes beside the editable package itself.
compile --extra notebooks --constraints locks/test.txt --output-file locks/environment.txt
