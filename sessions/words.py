"""How a count is said to people: `1 session`, `2 sessions`."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, in the singular where it is one; `plural` where an `s` is not enough."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
