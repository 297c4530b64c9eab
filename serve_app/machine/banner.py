"""What `headcount up` says once it is up: where everything is, and what to try."""

import shlex
from collections.abc import Sequence
from urllib.parse import quote

from rich.console import Console
from rich.markup import escape

from dashboards import prometheus
from serve_app.access.tokens import TokenKind, Tokens
from serve_app.machine.ports import InternalPorts
from serve_app.settings import VERSION, Settings
from storage.findings import Finding


def _source(settings: Settings, kind: TokenKind) -> tuple[str, str]:
    """Return where a token stands, for people and for a shell."""
    if settings.tokens_given(kind):
        variable = f"HEADCOUNT_{kind.upper()}_TOKEN"
        return variable, f"${{{variable}%%,*}}"  # of two the first
    file = settings.tokens_folder / kind.file
    return str(file), f"$(cat {shlex.quote(str(file))})"


def describe(
    settings: Settings, internal: InternalPorts, *, console: Console, tokens: Tokens, ready_s: float, warnings: Sequence[Finding]
) -> None:
    """Print where everything is. The tokens themselves are for a terminal; a log is told where they are."""
    url = settings.front_door_url
    shown = console.is_terminal
    ingest_at, _ = _source(settings, TokenKind.INGEST)
    ops_at, ops_word = _source(settings, TokenKind.OPS)
    journal = "HEADCOUNT_REDIS_URL" if settings.redis_url else f"{settings.data_dir / 'valkey'} (embedded Valkey, 127.0.0.1)"
    bearer = f"'Authorization: Bearer {tokens.ops}'" if shown else f'"Authorization: Bearer {ops_word}"'
    lines = [
        f"[bold green]Headcount is up[/bold green] after {ready_s:.1f} s (version {VERSION}). Ctrl-C stops it; live sessions are kept.",
        "",
        f"  Players and operators  {url}    (listens on {settings.host}:{settings.port})",
        f"  Live page              {escape(f'{url}/#token={quote(tokens.ops)}' if shown else f'{url}/')}   (ops token)",
        f"  API documents          {url}/docs   {url}/openapi.json",
        f"  Metrics                {url}/metrics   (ops token)",
        f"  Prometheus             {escape(str(settings.data_dir / prometheus.FOLDER / prometheus.CONFIGURATION))}",
        f"  Health                 {url}/healthz   {url}/readyz",
        f"  Data folder            {escape(str(settings.data_dir))}",
        f"  Journal                {escape(journal)}",
        f"  Ingest token           {escape(f'{tokens.ingest}   ({ingest_at})' if shown else ingest_at)}",
        f"  Ops token              {escape(f'{tokens.ops}   ({ops_at})' if shown else ops_at)}",
        f"  Inner ports            {internal.first}-{internal.first + 2} HAProxy's pages and fallback, on 127.0.0.1",
        f"                         {internal.replicas.start}-{internal.replicas.stop - 1} ingest replicas, on {settings.host}",
        "                         Ray's and the shards', random, on 127.0.0.1; but one for each replica on every interface (Serve's gRPC,",
        "                         which asks for Ray's token)",
        "",
        "  Try it:",
        f"  curl -s '{url}/icon.gif?type=play&v=video-1&p=zone-1&u=viewer-1' -o /dev/null -w '%{{http_code}}\\n'",
        f"  curl -s -H {escape(bearer)} '{url}/v1/concurrency'",
    ]
    if settings.host == "0.0.0.0":  # noqa: S104 - compared, not bound
        lines.insert(-3, "  [yellow]Every interface is open: let only the front door's port through your firewall.[/yellow]")
    if settings.auth == "off":
        lines.insert(1, "[bold red]AUTHENTICATION IS OFF (HEADCOUNT_AUTH=off): anybody can write sessions and read everything.[/bold red]")
    for warning in warnings:
        lines.insert(1, f"[bold red]THE JOURNAL: {escape(str(warning))}.[/bold red]")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
