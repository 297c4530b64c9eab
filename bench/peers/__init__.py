"""What Headcount is compared with, each written as a careful user would write it; `python -m bench.peers NAME` runs one."""
