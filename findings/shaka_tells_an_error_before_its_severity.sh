#!/usr/bin/env bash
# Shaka Player 5.2.12: the error that it tells its page of as critical is recoverable a moment later.
#
# Expected: `event.detail.severity` says whether it is over (2) or goes on (1). What happens: of a live stream's missing segment the event
# `error` is fired with 2, and only then the player decides to try again and sets the same object to 1. Whoever reads it in the listener
# counts a failure for each hiccup. Read it in a task of its own (`setTimeout`).
# Needs node and npm.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit --ignore-scripts --prefix "$folder" shaka-player@5.2.12 >/dev/null
node -e '
const { readFileSync } = require("fs");
const read = (name) => readFileSync(`node_modules/shaka-player/lib/${name}.js`, "utf8");
const handled = read("media/streaming_engine").split("async handleStreamingError_")[1];
const told = handled.indexOf("playerInterface_.onError(error)");
const decided = handled.indexOf("failureCallback(error)");
const softened = read("player").split("defaultStreamingFailureCallback_(error) {")[1].indexOf("error.severity = shaka.util.Error.Severity.RECOVERABLE");
console.log("told before it is decided:", 0 < told && told < decided, "- decided to be recoverable there:", 0 < softened && softened < 1_500);' | tee said
grep -q "decided: true - decided to be recoverable there: true" said || { echo "this has changed: the severity stands when it is told" >&2; exit 1; }
