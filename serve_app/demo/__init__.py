"""An audience that plays against a tracker, and books of its own to compare with."""
