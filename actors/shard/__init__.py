"""One shard: it owns slots, applies what players send, and acknowledges what is durable. Knows no Ray."""
