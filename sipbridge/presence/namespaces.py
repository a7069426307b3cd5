"""Namespace names and the prefixes we write. Prefixes are never significant when reading."""

PIDF = "urn:ietf:params:xml:ns:pidf"
DATA_MODEL = "urn:ietf:params:xml:ns:pidf:data-model"
RPID = "urn:ietf:params:xml:ns:pidf:rpid"
LOCATION_TYPE = "urn:ietf:params:xml:ns:location-type"
CIPID = "urn:ietf:params:xml:ns:pidf:cipid"
TIMED_STATUS = "urn:ietf:params:xml:ns:pidf:timed-status"
CAPS = "urn:ietf:params:xml:ns:pidf:caps"
OMA = "urn:oma:xml:prs:pidf:oma-pres"
WATCHERINFO = "urn:ietf:params:xml:ns:watcherinfo"
RLMI = "urn:ietf:params:xml:ns:rlmi"
PIDF_DIFF = "urn:ietf:params:xml:ns:pidf-diff"
COMMON_POLICY = "urn:ietf:params:xml:ns:common-policy"
PRES_RULES = "urn:ietf:params:xml:ns:pres-rules"
RESOURCE_LISTS = "urn:ietf:params:xml:ns:resource-lists"
SIPBRIDGE = "urn:sipbridge:pidf:extension"
"""Ours (`x` in the mapping reference, section 7), for the few values RPID has no word for."""
XML = "http://www.w3.org/XML/1998/namespace"
XSI = "http://www.w3.org/2001/XMLSchema-instance"

PREFIXES = {
    PIDF: "",
    DATA_MODEL: "dm",
    RPID: "rpid",
    LOCATION_TYPE: "lt",
    CIPID: "cipid",
    TIMED_STATUS: "ts",
    CAPS: "caps",
    OMA: "op",
    SIPBRIDGE: "x",
}
