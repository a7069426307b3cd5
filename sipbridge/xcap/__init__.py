"""Presence rules and lists on an XCAP server (RFC 4825). Not in this version: the package holds its place."""
