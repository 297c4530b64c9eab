#!/usr/bin/env bash
# players.sh VENV: what the tests with real players need, in VENV/players: the players (by tests/browser/players/package-lock.json, with every
# package's hash; no package's own script is run) and an ffmpeg, which makes the streams. VENV/player has node already.
set -euo pipefail
venv=$1
here=$(cd "$(dirname "$0")" && pwd)
folder=$venv/players
rm -rf "$folder"
mkdir -p "$folder"
cp "$here"/players/package.json "$here"/players/package-lock.json "$folder"
export PATH="$venv/player/bin:$PATH"
(cd "$folder" && npm ci --silent --ignore-scripts --no-audit --no-fund)
"$venv/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes --target "$folder/wheel" --requirement "$here/ffmpeg.lock"
ln -s "$folder"/wheel/imageio_ffmpeg/binaries/ffmpeg-* "$folder/ffmpeg"
