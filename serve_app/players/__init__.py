"""The players' endpoints: what they may send, how it is read, and what they are answered."""
