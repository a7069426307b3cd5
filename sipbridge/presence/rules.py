"""Presence rules: who may see what (RFC 4745 common policy, RFC 5025 presence authorization)."""

from dataclasses import dataclass
from enum import StrEnum


class SubHandling(StrEnum):
    """RFC 5025 §3.2.1, weakest first."""

    BLOCK = "block"
    CONFIRM = "confirm"
    POLITE_BLOCK = "polite-block"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A presentity's rules."""
