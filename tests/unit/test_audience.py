"""A play that can be repeated, and that has every kind of life in it."""

import pytest

from serve_app.demo.script import STREAMS, Does, audience

TWO_THOUSAND = audience(2_000, duration_s=60.0, seed=1)


def test_the_same_seed_gives_the_same_audience_and_another_seed_another() -> None:
    assert audience(200, duration_s=60.0, seed=7) == audience(200, duration_s=60.0, seed=7)
    assert audience(200, duration_s=60.0, seed=7) != audience(200, duration_s=60.0, seed=8)


@pytest.mark.parametrize("duration_s", [5.0, 60.0, 3_600.0])
def test_everyone_acts_in_order_of_time_and_inside_the_play(duration_s: float) -> None:
    for viewer in audience(500, duration_s=duration_s, seed=3):
        times = [act.at_s for act in viewer.acts]
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] <= viewer.leaves_at_s <= duration_s


def test_in_a_quick_play_every_session_ends_and_nobody_sends_pixels_or_comes_back() -> None:
    quick = audience(500, duration_s=10.0, seed=3, all_end=True)
    assert not any(viewer.beacon or viewer.encore for viewer in quick)
    assert all(Does.END in [act.does for act in viewer.acts] for viewer in quick)
    lasting = [viewer for viewer in quick if viewer.leaves_at_s > 10.0]
    assert len(lasting) > 100, "too few are there when the play ends"
    assert all(viewer.acts[-1].at_s > 10.0 for viewer in lasting), "somebody leaves while everybody is counted"


def test_event_names_are_unique_in_their_session() -> None:
    for viewer in TWO_THOUSAND:
        names = [event.name for act in (*viewer.acts, *viewer.encore) for event in act.events]
        assert len(names) == len(set(names))


def test_every_kind_of_life_is_lived() -> None:
    posts = [viewer for viewer in TWO_THOUSAND if not viewer.beacon]
    beacons = [viewer for viewer in TWO_THOUSAND if viewer.beacon]
    assert 200 < len(beacons) < 400
    openings = {viewer.acts[0].does for viewer in posts}
    assert openings == {Does.START, Does.HEARTBEAT, Does.EVENTS, Does.END}
    assert {viewer.acts[0].does for viewer in beacons} == {Does.VIEW, Does.PLAY, Does.CHECK}
    acts = [act for viewer in posts for act in viewer.acts]
    assert {act.playback for act in acts} >= {"starting", "playing", "rebuffering", "paused", "failed"}
    assert any(act.times > 1 for act in acts)
    assert any(event.lag_s >= 120 for act in acts for event in act.events), "nobody is ancient"
    assert any(0 < event.lag_s < 60 for act in acts for event in act.events), "nothing is out of order"
    assert any(act.does is Does.START and act.lag_s for act in acts), "no start is late"
    ends = [[act.does for act in viewer.acts].index(Does.END) for viewer in posts if Does.END in [act.does for act in viewer.acts]]
    assert len(ends) < len(posts) - 300, "too few vanish"
    assert any(viewer.acts[-1].does is not Does.END for viewer in posts if Does.END in [act.does for act in viewer.acts]), (
        "all stop at the end"
    )
    assert sum(bool(viewer.encore) for viewer in posts) > 50
    assert all(viewer.encore[-1].does is Does.END for viewer in TWO_THOUSAND if viewer.encore), "silence would last longer"
    assert {viewer.person.stream for viewer in TWO_THOUSAND} == set(range(STREAMS))
    assert {viewer.person.clock_ahead_s for viewer in posts} >= {0.0, 40.0, -63_072_000.0}
