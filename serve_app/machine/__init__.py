"""A tracker on one machine: starting and ending it, its ports, HAProxy and Ray."""
