"""Watching from outside: logs, metrics, the SIP trace and health, all made from what others report."""
