"""From records to reports: whose session, which values are plausible, and which player."""

import re
from pathlib import Path

import pytest

from serve_app.cmcd.mapper import PARAMETERS, Mapped, Outcome, map_records, target_of
from serve_app.cmcd.reader import read_records
from sessions import limits
from sessions.events import REPORTED, Report
from storage.codec import unpack_profile
from tests.players.recordings import all_reports, posts

NOW = 1_795_836_426.0


def mapped(body: str, **url: str) -> Mapped:
    return map_records(read_records(body.encode()), url, target=1, now=NOW)


def report(body: str, **url: str) -> Report:
    (reports,) = mapped(f'sid="s",{body}', **url).reports
    (only,) = reports.reports
    return only


def said(body: str) -> dict[str, float | str]:
    return {REPORTED[which]: value for which, value in report(body).said}


def test_a_report_says_when_what_and_in_which_state() -> None:
    assert report('e=ps,sta=p,sn=6,ts=1795836426437,cid="live",st=l,sf=h,br=(510)') == Report(
        at=1_795_836_426.437, kind="ps", state="p", number=6, stream_id="live", has_media=True, bitrate_bps=510_000
    )


def test_a_time_may_have_a_fraction_and_one_that_is_missing_is_now() -> None:
    assert report("ts=1795836426437.5").at == 1_795_836_426.4375
    assert report("e=t").at == NOW
    assert mapped('sid="s",ts=-1,e=t').dropped == ["ts"]


def test_kinds_and_states_that_nobody_knows_are_none() -> None:
    assert (report("e=zz,sta=z").kind, report("e=zz,sta=z").state) == ("", "")
    assert (report('e="t",sta="p"').kind, report('e="t",sta="p"').state) == ("t", "p")


def test_of_video_and_audio_that_are_told_apart_the_bitrate_is_both() -> None:
    assert report("br=(400;v 64;a)").bitrate_bps == 464_000
    assert report("br=510").bitrate_bps == 510_000
    assert report("br=(510.5)").bitrate_bps == 510_500


@pytest.mark.parametrize("body", ["br=(0)", "br=(-1)", "br=(99999999999)", 'br="x"'])
def test_a_bitrate_that_cannot_be_is_none_and_is_named(body: str) -> None:
    assert mapped(f'sid="s",{body}').dropped == ["br"]
    assert report(body).bitrate_bps is None


@pytest.mark.reaches("REPORT_LATENCY_US_MAX")
def test_a_latency_below_zero_or_beyond_two_minutes_is_the_clock_of_the_viewers_device() -> None:
    assert limits.REPORT_LATENCY_US_MAX == 120_000_000
    assert report("ltc=120000").latency_us == 120_000_000
    for body in ("ltc=120001", "ltc=182097", "ltc=-5"):
        assert mapped(f'sid="s",{body}').dropped == ["ltc"]
        assert report(body).latency_us is None


def test_the_buffer_is_the_one_that_runs_dry_first_and_none_of_hls_js() -> None:
    assert said("bl=(3400;v 100;a),sf=d") == {"buffer_ms": 100.0}
    assert said("bl=(6100),sf=h,sta=p") == {}


def test_what_is_an_attribute_of_the_session_is_said() -> None:
    assert said('e=m,mtp=(6700),dfa=3,pr=1.5,h="cdn.example",bg,pt=5000') == {
        "throughput_kbps": 6_700.0, "dropped_frames": 3.0, "playback_rate": 1.5, "playhead_ms": 5_000.0, "cdn": "cdn.example",
        "background": True, "muted": True,
    }  # fmt: skip
    assert said("bg=?0,e=um") == {"background": False, "muted": False}


def test_a_date_in_a_span_of_time_and_an_error_that_rides_on_are_not_looked_at() -> None:
    assert report("e=t,ec=25,ttfb=1795837040029,msd=2").kind == "t"


def test_a_record_without_an_id_is_counted_as_such_and_the_url_may_name_the_session() -> None:
    assert mapped("e=t,ts=1,v=2").outcomes == {Outcome.WITHOUT_SID: 1}
    (reports,) = mapped("e=t,ts=1,v=2", sid="page-1").reports
    assert reports.session_id == "cmcd:\0page-1"


@pytest.mark.parametrize("sid", ['""', '"undefined"', '"\ufffd"', f'"{"x" * 257}"', "5"])
def test_an_id_that_many_viewers_could_share_is_none(sid: str) -> None:
    outcomes = mapped(f"e=t,sid={sid}").outcomes
    assert outcomes == ({} if sid == "5" else {Outcome.WITHOUT_SID: 1})


def test_a_record_of_a_newer_version_is_left_alone() -> None:
    assert mapped('sid="s",v=3,e=t\nsid="s",v=2,e=t\nsid="s",e=t').outcomes == {Outcome.NEWER_VERSION: 1}


def test_the_url_says_what_cmcd_cannot() -> None:
    (reports,) = mapped(
        'sid="s",cid="c",e=t', stream_id="live", channel_id="ch", creator_id="cr", platform="web", country="DE", user_id="u", device_id="d",
        app_version="1", interval="30", batch="10", player="hls.js@1.7.4",
    ).reports  # fmt: skip
    assert (reports.channel_id, reports.creator_id, reports.platform, reports.country) == ("ch", "cr", "web", "DE")
    assert (reports.reports[0].stream_id, reports.distance_s, reports.player) == ("live", 300, "hls.js@1.7.4")
    assert unpack_profile(reports.profile) == {"user_id": "u", "device_id": "d", "app_version": "1"}


def test_a_session_of_our_own_client_is_reached_only_if_the_url_says_so() -> None:
    (apart,) = mapped('sid="s",e=t').reports
    (joined,) = mapped('sid="s",e=t', join="session", sid="mine").reports
    assert (apart.session_id, apart.joins) == ("cmcd:\0s", False)
    assert (joined.session_id, joined.joins) == ("mine", True)
    (unnamed,) = mapped('sid="s",e=t', join="session").reports
    assert unnamed.session_id == "cmcd:\0s"


def test_two_targets_are_told_apart_by_their_url_whatever_token_they_show() -> None:
    assert target_of(b"access_token=a&stream_id=x") == target_of(b"stream_id=x&access_token=b")
    assert target_of(b"stream_id=x") != target_of(b"stream_id=x&mode=b")


@pytest.mark.parametrize(
    ("recording", "player"),
    [
        ("hls-event-life", "hls.js"),
        ("dash-event-life", "dash.js"),
        ("shaka-event-life", "shaka-player"),
        ("shakadebug-event-life", "shaka-player"),
    ],
)
def test_a_player_is_known_by_how_it_spells(recording: str, player: str) -> None:
    # The first word counts: a session remembers it.
    known = (map_records(read_records(post.body), {}, target=1, now=NOW).player for post in posts(recording))
    assert next(name for name in known if name) == player
    assert map_records(read_records(b'sid="s",sf="h",br=1000.5'), {}, target=1, now=NOW).player == "theoplayer"


def test_every_recorded_report_is_read_whole() -> None:
    assert len(all_reports("hls-event-life")) == 24
    assert {each.kind for each in all_reports("hls-event-life")} == {"t", "ps", "bc", "pr"}


def test_the_documentation_tells_of_every_outcome_and_every_parameter() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "players.md").read_text("utf-8")
    section = page[page.index("## Players that report by themselves") : page.index("## What your events mean")]
    told = set(re.findall(r"`(\w+)`", section))
    assert {str(outcome) for outcome in Outcome} <= told
    assert {name for name in PARAMETERS if name != "join"} <= told
    assert "join=session" in section
