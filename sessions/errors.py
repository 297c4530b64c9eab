"""Broken promises of the core: each carries what is needed to explain it."""


class InvariantError(Exception):
    """A thing that cannot be so, is. Carries the session's story; the shard starts again from its journal."""

    def __init__(self, problem: str, *, story: object = None) -> None:
        super().__init__(f"{problem}; story: {story}" if story is not None else problem)
        self.problem = problem
        self.story = story
