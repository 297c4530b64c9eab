"""The operators' routes, and the description of every route."""
