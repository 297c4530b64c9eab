"""Reports of players that have no client of ours: read, and mapped onto the sessions that all others are."""
