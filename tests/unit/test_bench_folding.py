"""What the breakdown of one heartbeat calls a sampled stack."""

from bench.folding import EVENT_LOOP, REPLICA, SHARD, fold, part_of

INGEST = "Ingest._serve_post (serve_app/players/ingest.py:130)"


def test_the_innermost_frame_that_is_known_decides() -> None:
    outer = f"run_asgi (uvicorn/protocols/http/httptools_impl.py:422);__call__ (ray/serve/_private/replica.py:3309);{INGEST}"
    assert part_of(outer, REPLICA) == "steps between"
    assert part_of(f"{outer};read_body (serve_app/players/decoding.py:61)", REPLICA) == "parse, validate"
    assert part_of(f"{outer};send (ray/serve/_private/http_util.py:725)", REPLICA) == "Serve's path"


def test_what_somebody_calls_of_the_standard_library_is_his() -> None:
    assert part_of(f"{INGEST};read (serve_app/players/body.py:33);timeout (asyncio/timeouts.py:145)", REPLICA) == "parse, validate"
    assert part_of("Thread.run (threading.py:982)", REPLICA) == EVENT_LOOP


def test_serves_own_metrics_are_no_actor_call() -> None:
    assert part_of("record (ray/serve/_private/replica.py:942);observe (ray/util/metrics.py:299)", REPLICA) == "Serve's path"


def test_samples_are_added_up_by_part_and_broken_lines_left_out() -> None:
    lines = [
        "commit_group (actors/shard/shard.py:162);receive (sessions/tracker.py:60) 3",
        "commit_group (actors/shard/shard.py:162);add (sessions/qoe.py:9) 2",
        "write (actors/shard/writing.py:74);run (redis/asyncio/connection.py:1) 4",
        "no number here",
        "",
    ]
    assert fold(lines, SHARD) == {"apply": 5, "commit": 4}
