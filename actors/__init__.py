"""The stateful side on Ray: shards that hold sessions, a directory that sees every slot owned, an exporter that adds up."""
