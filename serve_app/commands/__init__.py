"""What the command line does to a tracker that runs, or to its data."""
