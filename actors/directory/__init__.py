"""The directory: who owns what, how many shards there are, and where. Knows no Ray."""
