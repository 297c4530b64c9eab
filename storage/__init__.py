"""The journal: what was acknowledged, durably, under the fence of an epoch."""
