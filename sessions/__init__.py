"""The pure core: events and `now` in, receipts and changes out. No Ray, no Redis, no clock, no randomness."""
