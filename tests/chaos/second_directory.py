"""
Start a second directory in a running tracker, and see to it that there is one again. A program of its own: it joins that tracker's Ray.

    python -m tests.chaos.second_directory RAY_ADDRESS CONFIG RUN

CONFIG: a `TrackerConfig` as JSON. RUN: of the second directory. That of the first: as if Ray had started a directory anew which still
lives; both look after the shards for some seconds. Another: as if somebody had started the tracker twice; waits until the first has
given up. In both cases the second is then ended, and the first started anew if it gave up. Prints what the first said when it gave up.
"""

import json
import sys
import time
from typing import Any

import ray

from actors import names
from actors.config import TrackerConfig
from actors.ray_actors import OPTIONS, REMOTE
from actors.ray_directory import Directory, create_directory

BOTH_S = 10.0
WITHIN_S = 60.0


def main(address: str, config: TrackerConfig, run: str, *, is_its_own: bool) -> None:
    ray.init(address=address, namespace=config.namespace, log_to_driver=False)
    first = ray.get_actor(names.DIRECTORY)
    actor = REMOTE(concurrency_groups={"health": 8}, **OPTIONS)(Directory)
    second = actor.options(name="headcount-directory-second", lifetime="detached").remote(config, run)
    assert ray.get(second.settled.remote(), timeout=WITHIN_S) is None
    problem = None
    if is_its_own:
        began_at = time.monotonic()
        while (problem := ray.get(first.settled.remote(), timeout=WITHIN_S)) is None:
            assert time.monotonic() - began_at < WITHIN_S, "both directories lead"
            time.sleep(0.2)
    else:
        time.sleep(BOTH_S)
    # Whoever leads still does, and has served every slot since.
    assert ray.get(second.settled.remote(), timeout=WITHIN_S) is None
    ray.kill(second)
    if problem is not None:
        ray.kill(first)
        _anew(config)
    print(json.dumps(problem))


def _anew(config: TrackerConfig) -> None:
    began_at = time.monotonic()
    while True:
        try:
            directory: Any = create_directory(config, run="after-two")
        except ValueError:
            assert time.monotonic() - began_at < WITHIN_S, "the name of the dead directory is still taken"
            time.sleep(0.2)
        else:
            break
    assert ray.get(directory.settled.remote(), timeout=WITHIN_S) is None


if __name__ == "__main__":
    _, given_address, given_config, given_run, own = sys.argv
    main(given_address, TrackerConfig(**json.loads(given_config)), given_run, is_its_own=own == "own")
