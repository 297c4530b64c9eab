"""Who may ask: tokens, JWTs and their keys."""
