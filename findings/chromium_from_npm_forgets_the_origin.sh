#!/usr/bin/env bash
# @sparticuz/chromium 153: its default arguments switch off the web's rules of origin.
#
# Expected: arguments for running without a screen. What happens: `args` holds `--disable-web-security`, so a test of CORS that starts
# this browser as its page says passes whatever the server answers. Name your own arguments, or leave this one out.
# Needs node and npm.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit --prefix "$folder" @sparticuz/chromium@153.0.0 >/dev/null
node --input-type=module -e '
import chromium from "@sparticuz/chromium";
console.log("web security is off:", chromium.args.includes("--disable-web-security"));' | tee said
grep -q "off: true" said || { echo "this has changed: the rules of origin hold" >&2; exit 1; }
