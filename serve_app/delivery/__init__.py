"""The way from an ingest replica to the shards."""
