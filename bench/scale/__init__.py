"""What runs beyond one machine, measured on one."""
