"""
What an operator may set, and what is wrong with it; nothing here acts on a setting.

Everything comes from environment variables that begin with `HEADCOUNT_`; an empty variable counts as unset. All are
judged together, so that one start names every mistake.
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import version
from ipaddress import AddressValueError, IPv4Address, ip_network
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from actors.config import NEW_PIXEL_SESSIONS_PER_NETWORK, NEW_SESSIONS_PER_MINUTE, PIXEL_MEGABYTES
from storage.redis_address import RedisAddress

VERSION: Final = version("headcount")
"""Of the installed package, and so of everything that names one."""
COMMAND: Final = "headcount"
PREFIX: Final = "HEADCOUNT_"
RUN_VARIABLE: Final = "HEADCOUNT_RUN"
"""Not a setting: the id that `headcount up` gives to every process of one run (see `serve_app/machine/runs.py`)."""

INTERNAL_PORTS_COUNT: Final = 200
"""Ports that one instance keeps for itself beside the front door, in one block."""

TOKENS_MAX: Final = 2
"""Tokens of one kind that are valid at a time."""
_TLS_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_TLS_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "ssl_cert_reqs": ("none", "optional", "required"),
    "ssl_check_hostname": ("true", "false", "yes", "no", "1", "0"),
}

_ORIGIN: Final = re.compile(
    r"(?!http://.*:80/?$|https://.*:443/?$)[a-z][a-z0-9+.-]*://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?/?"
)
"""Scheme, host and port, as a browser writes them: no capitals, no usual port."""

Names = Annotated[tuple[str, ...], NoDecode]


class SettingsError(Exception):
    """Settings are wrong. Each of `problems` is one line that names its variable and never shows a secret."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        message = "names the home folder of a user that this machine does not have"
        raise ValueError(message) from None


def _shown(path: Path) -> str:
    """Return a path as it can stand in one line."""
    return str(path) if str(path).isprintable() else repr(str(path))


def _mode_of(path: Path) -> int:
    """Return what a path names, as `stat` has it; 0: nothing is there. Raises `ValueError` if nothing can be."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return 0
    except OSError as error:  # its name is too long, it lies below a file, or where we may not look
        message = f"{_shown(path)} cannot be used: {error.strerror}"
        raise ValueError(message) from None


class Settings(BaseSettings):
    """Everything that can be set. Durations in seconds. Frozen, and safe to print: secrets stay out of its repr."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    host: str = "127.0.0.1"
    """Interface of the front door: an IPv4 address, or `localhost`. `0.0.0.0` is every interface."""
    port: int = Field(default=8000, ge=1, le=65_535)
    """Port of the front door."""
    internal_ports: int | None = Field(default=None, ge=1_024, le=65_535 - INTERNAL_PORTS_COUNT)
    """First of the 200 ports of HAProxy's statistics and of the ingest replicas. Unset: a free block is chosen at start."""
    data_dir: Path = Path("data")
    """Tokens, the embedded journal, the record of the running processes. Made absolute."""
    instance: str | None = Field(default=None, min_length=8, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    """Name of the installation, which owns its data set alone; for clusters. Unset: made at first start, kept in the data folder."""
    redis_url: str | None = Field(default=None, repr=False)
    """The journal, `redis://` or `rediss://`. Unset: an embedded Valkey in the data folder."""
    shards: int = Field(default_factory=lambda: max(1, _cores() // 2), ge=1, le=4_096)
    """Actors that hold the sessions."""
    replicas: int = Field(default_factory=_cores, ge=1, le=64)
    """Ingest replicas. On one machine more than its cores gain nothing; each, and each that died lately, takes a port."""
    slots: int = Field(default=256, ge=1, le=16_384)
    """Units of ownership; fixed for the life of a data set."""
    heartbeat_interval_s: int = Field(default=30, ge=1, le=3_600)
    expiry_intervals: int = Field(default=3, ge=1, le=100)
    """Missed heartbeat intervals after which a session expires."""
    revive_window_s: float = Field(default=1_800.0, ge=0, le=7 * 86_400, allow_inf_nan=False)
    """How long an expired or ended session is remembered."""
    new_sessions_per_minute: int = Field(default=NEW_SESSIONS_PER_MINUTE, ge=1, le=10_000_000)
    """New sessions that one shard opens, a minute's worth of them at once; of pixels a quarter of that. More are answered 429."""
    new_pixel_sessions_per_network: int = Field(default=NEW_PIXEL_SESSIONS_PER_NETWORK, ge=1, le=10_000_000)
    """New sessions that one shard opens in a minute for the pixels of one range of addresses (/24, /56). More are answered 429."""
    pixel_megabytes: int = Field(default=PIXEL_MEGABYTES, ge=1, le=65_536)
    """Megabytes that one shard keeps of what pixels say (ids, users, referrers); past it new ones are answered 429."""
    trusted_proxies: Names = ()
    """Load balancers and CDNs in front, as addresses or ranges, comma-separated: only what they say in `X-Forwarded-For` is believed. None: nobody."""
    ingest_token: str | None = Field(default=None, repr=False)
    """Bearer token of players; or two, `NEW,OLD`, the first to use and both valid. Unset: made at first start, kept in the data folder."""
    ops_token: str | None = Field(default=None, repr=False)
    """The same of operators."""
    tokens_dir: Path | None = None
    """Folder whose files hold the tokens (`tokens.py`) and that somebody else fills, like a mounted secret. Unset: the data folder. Made absolute."""
    jwt_public_key_file: Path | None = None
    """PEM file; JWTs signed by its private half are then the ingest tokens. Made absolute."""
    auth: Literal["on", "off"] = "on"
    beacon_pullzones: Names = ()
    """Allowed values of the beacon's `p`, comma-separated; none: any."""
    cors_origins: Names = ("*",)
    """Web pages that may call the player endpoints: origins, comma-separated; `*`: all, empty: none."""
    keep_alive_s: int = Field(default=5, ge=1, le=3_600)
    """How long an idle connection stays open. Longer than the idle time of a load balancer in front; far shorter than a heartbeat interval, if
    viewers connect directly, or each of them holds one."""
    ray_metrics: bool = False
    """Whether Ray collects its own metrics; costs 20-40 µs of processor time per request."""

    @property
    def front_door_url(self) -> str:
        """Return where this machine reaches the front door, without a final slash."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104 - compared, not bound
        return f"http://{host}:{self.port}"

    @property
    def tokens_folder(self) -> Path:
        """Return where the files of the tokens are."""
        return self.tokens_dir or self.data_dir

    def tokens_given(self, kind: str) -> tuple[str, ...]:
        """Return the tokens of one kind, `ingest` or `ops`, that the environment names."""
        given = self.ingest_token if kind == "ingest" else self.ops_token
        return tuple(given.split(",")) if given else ()

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Take what Ray kept for a replica, perhaps of another build: what that did not know has its default, what we do not know goes."""
        defaults = {name: field.get_default(call_default_factory=True) for name, field in type(self).model_fields.items()}
        known = {name: value for name, value in state["__dict__"].items() if name in defaults}
        super().__setstate__({**state, "__dict__": defaults | known})

    @field_validator("beacon_pullzones", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Read a comma-separated list; blanks around and between commas do not count."""
        if isinstance(value, str):
            return tuple(name for part in value.split(",") if (name := part.strip()))
        return value

    @model_validator(mode="before")
    @classmethod
    def _an_empty_list_of_origins_is_nobody(cls, values: dict[str, object]) -> dict[str, object]:
        """Every other variable that is empty counts as unset; this one would then let in everybody."""
        given = {name.upper(): value for name, value in os.environ.items()}.get(f"{PREFIX}CORS_ORIGINS")
        return {"cors_origins": (), **values} if given is not None and not given.strip() else values

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_what_browsers_send(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin == "*" and len(value) > 1:
                message = "* allows every origin: nothing else may stand beside it"
                raise ValueError(message)
            if origin != "*" and _ORIGIN.fullmatch(origin) is None:
                message = (
                    f"{origin!r} is no origin as browsers send it: a scheme and a host in small letters, and the port if it is not the usual one, "
                    "like https://tv.example; no path, and no * in it"
                )
                raise ValueError(message)
        return tuple(origin.rstrip("/") for origin in value)

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_ranges(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in value:
            try:
                ip_network(proxy)
            except ValueError:
                message = f"{proxy!r} is neither an address nor a range of addresses like 10.0.0.0/8"
                raise ValueError(message) from None
        return value

    @field_validator("host")
    @classmethod
    def _host_can_be_bound(cls, value: str) -> str:
        if value == "localhost":
            return value
        try:
            return str(IPv4Address(value))
        except AddressValueError:
            message = "must be an IPv4 address or localhost"
            raise ValueError(message) from None

    @field_validator("data_dir")
    @classmethod
    def _data_dir_is_a_folder(cls, value: Path) -> Path:
        folder = _absolute(value)
        if (mode := _mode_of(folder)) and not S_ISDIR(mode):
            message = f"{_shown(folder)} is not a folder"
            raise ValueError(message)
        return folder

    @field_validator("redis_url")
    @classmethod
    def _redis_url_names_a_server(cls, value: str | None) -> str | None:
        if value is None:
            return None
        message = "must look like redis://[user:password@]host[:port][/database] or rediss://…; special characters percent-encoded"
        # A bare "?" or "#" of a password would end the server's name, and what is told of the rest would be its other half.
        if "#" in value or "@" in value.partition("?")[2]:
            raise ValueError(message)
        address = RedisAddress.parse(value)
        if urlsplit(value).port == 0:
            raise ValueError(message)
        for name, option in address.tls_options:
            if name in _TLS_FILES and not os.access(option, os.R_OK):
                message = f"{name} is not a file that this user can read"
                raise ValueError(message)
            if name in _TLS_WORDS and option not in _TLS_WORDS[name]:
                message = f"{name} must be one of {', '.join(_TLS_WORDS[name])}"
                raise ValueError(message)
        return value

    @field_validator("ingest_token", "ops_token")
    @classmethod
    def _token_fits_a_header(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not (value.isascii() and value.isprintable() and " " not in value):
            message = "must be printable ASCII without spaces, because it is sent in a header"
            raise ValueError(message)
        tokens = value.split(",")
        if not all(tokens) or len(tokens) > TOKENS_MAX:
            message = "must be one token, or two as NEW,OLD"
            raise ValueError(message)
        return value

    @field_validator("tokens_dir")
    @classmethod
    def _tokens_dir_is_there(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        folder = _absolute(value)
        if not S_ISDIR(_mode_of(folder)):
            message = f"{_shown(folder)} is not a folder"
            raise ValueError(message)
        return folder

    @field_validator("jwt_public_key_file")
    @classmethod
    def _key_file_is_readable(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        file = _absolute(value)
        if not (S_ISREG(_mode_of(file)) and os.access(file, os.R_OK)):
            message = f"{_shown(file)} is not a file that this user can read"
            raise ValueError(message)
        return file

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        problems = []
        if self.shards > self.slots:
            problems.append(f"{PREFIX}SHARDS ({self.shards}) is greater than {PREFIX}SLOTS ({self.slots}): a shard owns at least one slot")
        if set(self.tokens_given("ingest")) & set(self.tokens_given("ops")):
            problems.append(f"{PREFIX}INGEST_TOKEN and {PREFIX}OPS_TOKEN are the same: every player could read the operators' pages")
        first = self.internal_ports
        if first is not None and first <= self.port < first + INTERNAL_PORTS_COUNT:
            problems.append(f"{PREFIX}PORT ({self.port}) lies inside the block of {PREFIX}INTERNAL_PORTS ({first} and the next 199)")
        if problems:
            raise ValueError("\n".join(problems))
        return self


def load_settings() -> Settings:
    """Return the settings that the environment holds. Raises `SettingsError` with one line per bad one."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(described(error)) from None


def typed(arguments: str) -> str:
    """Return another command of ours as it would have to be typed here: with the path by which this one was called."""
    called = sys.argv[0]
    found = shutil.which(COMMAND)
    if Path(called).name != COMMAND or (found and Path(found).absolute() == Path(called).absolute()):
        called = COMMAND
    return f"`{called} {arguments}`"


def unknown_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names in `environ` that look like ours but set nothing: most often a slip of the pen."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {
        RUN_VARIABLE,
        "HEADCOUNT_FRONT_DOOR_SECRET",
        "HEADCOUNT_TEST_CLOCK_STEP_FILE",
    }
    return tuple(sorted(name for name in environ if name.upper().startswith(PREFIX) and name.upper() not in known))


def described(error: ValidationError) -> tuple[str, ...]:
    """Return one line per problem. Values are left out: some are secrets, and the operator has them at hand."""
    problems: list[str] = []
    for detail in error.errors(include_url=False, include_input=False):
        text = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if detail["loc"]:
            problems.append(f"{PREFIX}{str(detail['loc'][0]).upper()}: {text[0].lower()}{text[1:]}")
        else:
            problems.extend(text.splitlines())
    return tuple(problems)
