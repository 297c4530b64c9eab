"""
The command line: what can be asked for, in words. What it does stands in the module of each command's name.

Modules are imported inside the commands: `--help` must not wait for Ray, and Ray must not be imported before `up` has
set its environment.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve_app.settings import VERSION, Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from serve_app.access.tokens import TokenKind

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would show locals, which hold tokens
)

token = typer.Typer(no_args_is_help=True, help="Change the bearer tokens while everything runs.")
app.add_typer(token, name="token")

OfPlayers = Annotated[bool, typer.Option("--ingest", help="Only the players' token.")]
OfOperators = Annotated[bool, typer.Option("--ops", help="Only the operators' token.")]


def _settings() -> Settings:
    """Return the settings, or end with one line per bad one and exit code 2."""
    try:
        return load_settings()
    except SettingsError as error:
        for problem in error.problems:
            typer.secho(problem, err=True, fg=typer.colors.RED)
        raise typer.Exit(2) from None


def _say_version(asked: bool) -> None:  # noqa: FBT001 - Typer calls it
    if asked:
        typer.echo(f"headcount {VERSION}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")] = False,  # noqa: FBT002
) -> None:
    """Count how many people are watching right now, and whether it goes well for them. Settings are HEADCOUNT_… variables: see docs/settings.md."""
    del version  # its callback has acted


@app.command()
def up() -> None:
    """Start the tracker on this machine, and run until Ctrl-C or SIGTERM. Live sessions are kept for the next start."""
    settings = _settings()
    from serve_app.machine.up import run

    raise typer.Exit(run(settings))


@app.command()
def status() -> None:
    """Show whether the tracker is ready, how many sessions it holds, and on which shards."""
    settings = _settings()
    from serve_app.commands.status import run

    raise typer.Exit(run(settings))


@app.command()
def players() -> None:
    """Show which players report by themselves (CMCD), what became of their reports, and what to do about what they do wrong."""
    settings = _settings()
    from serve_app.commands.players import run

    raise typer.Exit(run(settings))


@app.command("cmcd-logs")
def cmcd_logs(
    source: Annotated[str, typer.Argument(metavar="FILE|-", help="An access log, combined, JSON lines or W3C; - is the standard input.")],
    parameters: Annotated[str, typer.Option(help="What the target's URL would say, as stream_id=derby&country=DE.")] = "",
) -> None:
    """Count viewers by what their players say with each request for media (CMCD in request mode), as a CDN's access log has it: late, but counted."""
    settings = _settings()
    from serve_app.commands.cmcd_logs import run

    raise typer.Exit(run(settings, source, parameters=parameters))


@app.command()
def demo(
    viewers: Annotated[int | None, typer.Option(min=1, help="How many viewers to simulate: 2,000, or 300 with --quick.")] = None,
    duration_s: Annotated[int | None, typer.Option("--seconds", min=1, help="How long they watch: 60 s, or 10 s with --quick.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Take about 20 s: every player ends its session, none just disappears.")] = False,  # noqa: FBT002 - a flag
    seed: Annotated[int, typer.Option(help="The same seed plays the same viewers.")] = 1,
    details: Annotated[bool, typer.Option("--details", help="Print every count that was compared.")] = False,  # noqa: FBT002 - a flag
    books: Annotated[Path | None, typer.Option(help="A file to write the demo's own counts to, as JSON.")] = None,
    url: Annotated[str | None, typer.Option(help="The tracker's URL. By default from HEADCOUNT_HOST and HEADCOUNT_PORT.")] = None,
) -> None:
    """Play simulated viewers against the running tracker for about three minutes, and say whether it counted them right."""
    settings = _settings()
    from serve_app.demo.play import Programme, run

    programme = Programme(
        viewers=viewers or (300 if quick else 2_000),
        duration_s=duration_s or (10 if quick else 60),
        seed=seed,
        url=url,
        books=books,
        quick=quick,
        details=details,
    )
    raise typer.Exit(run(settings, programme))


@app.command()
def scale(shards: Annotated[int, typer.Option(help="The new number of shards.")]) -> None:
    """Change the number of shards while everything runs. Moves as few slots as possible; players notice nothing. Returns when it is done."""
    settings = _settings()
    from serve_app.commands.scaling import scale

    raise typer.Exit(scale(settings, shards=shards))


@app.command()
def drain(
    node: Annotated[str, typer.Option(help="The node's address, or the beginning of its id; `headcount status` shows both.")],
) -> None:
    """Move all shards off a node of the cluster, and keep them off until `undrain`. Returns when the node can be stopped."""
    settings = _settings()
    from serve_app.commands.scaling import drain

    raise typer.Exit(drain(settings, node=node))


@app.command()
def undrain(node: Annotated[str, typer.Option(help="The node's address, or the beginning of its id.")]) -> None:
    """Let a drained node have shards again. Returns when they are spread evenly."""
    settings = _settings()
    from serve_app.commands.scaling import undrain

    raise typer.Exit(undrain(settings, node=node))


@app.command()
def rollout() -> None:
    """Restart every shard, one after the other, then the directory, with the code that is installed now. Players notice nothing."""
    settings = _settings()
    from serve_app.commands.scaling import rollout

    raise typer.Exit(rollout(settings))


@app.command()
def audit() -> None:
    """Recount the sessions of every slot in the journal, and check that the ledger agrees."""
    settings = _settings()
    from serve_app.commands.audit import run

    raise typer.Exit(run(settings))


@app.command()
def doctor() -> None:
    """Check everything that a tracker needs, the journal first. Prints one line for each, and what to do. Exit code 1 if something is wrong."""
    settings = _settings()
    from serve_app.commands.doctor import run

    raise typer.Exit(run(settings))


@app.command()
def records(
    set_aside: Annotated[bool, typer.Option("--set-aside", help="The records that could not be read. Always needed.")] = False,  # noqa: FBT002 - Typer's way to say a flag
    restore: Annotated[bool, typer.Option("--restore", help="Take back what this build can read.")] = False,  # noqa: FBT002
    forget: Annotated[bool, typer.Option("--forget", help="Drop them for good.")] = False,  # noqa: FBT002
    session: Annotated[str | None, typer.Option(help="Only this session, shown in full.")] = None,
) -> None:
    """List the stored sessions that could not be read, show one as hex and JSON, take them back, or forget them."""
    if not set_aside or (restore and forget):
        typer.secho("Give --set-aside, and at most one of --restore and --forget.", err=True, fg=typer.colors.RED)
        raise typer.Exit(2)
    settings = _settings()
    from serve_app.commands.records import run

    raise typer.Exit(run(settings, restore=restore, forget=forget, session_id=session))


@token.command()
def rotate(ingest: OfPlayers = False, ops: OfOperators = False) -> None:  # noqa: FBT002 - Typer's way to say a flag
    """Make new tokens: both kinds, or the one that is named. The old ones stay valid until `revoke` or the next `rotate`. Nothing restarts."""
    settings = _settings()
    from serve_app.commands.rotation import run_rotate

    raise typer.Exit(run_rotate(settings, _kinds(ingest=ingest, ops=ops)))


@token.command()
def revoke(ingest: OfPlayers = False, ops: OfOperators = False) -> None:  # noqa: FBT002 - Typer's way to say a flag
    """Make the tokens from before the last `rotate` invalid: both kinds, or the one that is named."""
    settings = _settings()
    from serve_app.commands.rotation import run_revoke

    raise typer.Exit(run_revoke(settings, _kinds(ingest=ingest, ops=ops)))


def _kinds(*, ingest: bool, ops: bool) -> "list[TokenKind]":
    from serve_app.access.tokens import TokenKind

    named = [kind for kind, wanted in ((TokenKind.INGEST, ingest), (TokenKind.OPS, ops)) if wanted]
    return named or list(TokenKind)


if __name__ == "__main__":
    app()
