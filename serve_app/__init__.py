"""The Serve applications: players in, operators' answers out, and the command line."""
