"""The configuration, read once and checked whole before anything opens.

`load` gathers defaults, TOML file, environment and command line (`settings_sources.py`), checks values
(`settings_tree.py`) and what they mean together (`settings_checks.py`). It either returns the frozen tree or
raises `ConfigurationErrors` with every fault found, each with its full key: nothing unknown, and nothing of a
later version, is ever ignored.

Only `app` and `cli` know settings. `app/wiring.py` hands numbers, paths and small values down.
"""

import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, SecretStr

from sipbridge.app.settings_checks import (
    Users,
    cross_check,
    read_secret,
    read_tables,
    read_users,
    token_of,
)
from sipbridge.app.settings_sources import Raw, foreign_keys, gather, read_toml, tables_copied
from sipbridge.app.settings_tree import (
    Access,
    AdminSettings,
    AgentSettings,
    ApplicationSettings,
    BayeuxSettings,
    BemsSettings,
    CertificateSettings,
    Digest,
    DomainServerSettings,
    Endpoint,
    Envelope,
    Format,
    GatewaySettings,
    GroupSettings,
    HttpSettings,
    Level,
    LimitsSettings,
    LogSettings,
    MappingSettings,
    Mode,
    NetworkIdentity,
    OcsgSettings,
    PolicySettings,
    PresenceServerSettings,
    Settings,
    SipSettings,
    StoreSettings,
    SubHandlingWord,
    Synchronous,
    TlsSettings,
    Unenforceable,
    Verify,
    WebhooksSettings,
    is_loopback,
)
from sipbridge.errors import ConfigurationError

__all__ = [
    "Access",
    "AdminSettings",
    "AgentSettings",
    "ApplicationSettings",
    "BayeuxSettings",
    "CertificateSettings",
    "BemsSettings",
    "ConfigurationErrors",
    "Digest",
    "DomainServerSettings",
    "Endpoint",
    "Envelope",
    "Format",
    "GatewaySettings",
    "GroupSettings",
    "HttpSettings",
    "Level",
    "LimitsSettings",
    "LogSettings",
    "MappingSettings",
    "Mode",
    "NetworkIdentity",
    "OcsgSettings",
    "PolicySettings",
    "PresenceServerSettings",
    "Settings",
    "SipSettings",
    "StoreSettings",
    "SubHandlingWord",
    "Synchronous",
    "TlsSettings",
    "Unenforceable",
    "Users",
    "Verify",
    "WebhooksSettings",
    "is_loopback",
    "load",
    "password",
    "read_tables",
    "read_users",
    "sip_password",
    "to_toml",
    "tokens",
    "webhook_secret",
]

MASK = "********"
"""What `print-config` shows instead of a secret."""
SECRET_NAMES = frozenset(
    {
        "password",
        "password_hash",
        "sip_password",
        "webhook_secret",
        "hep_password",
        "token",
        "auth_tokens",
    }
)
"""Keys whose value must not come back in a fault."""


class ConfigurationErrors(ConfigurationError):
    """All faults of one configuration; `str()` has one line for each."""

    def __init__(self, faults: Iterable[ConfigurationError]) -> None:
        self.faults = tuple(faults)
        super().__init__(self.faults[0].key, self.faults[0].expected)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


def load(
    path: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of this run; raises ConfigurationErrors.

    path: the TOML file, None for none. overrides: from the command line, keys may be dotted.
    """
    try:
        file = read_toml(path) if path is not None else {}
        raw = gather(file, os.environ if environ is None else environ, overrides or {})
    except ConfigurationError as fault:
        raise ConfigurationErrors([fault]) from None
    raw, faults = foreign_keys(raw)
    directory = path.parent.resolve() if path is not None else Path.cwd()
    settings, wrong = validated(raw, directory)
    faults += wrong
    if settings is not None:
        faults += unexplained(cross_check(settings), wrong)
    if faults or settings is None:
        raise ConfigurationErrors(faults)
    return settings


def validated(raw: Raw, directory: Path) -> tuple[Settings | None, list[ConfigurationError]]:
    """The tree, and the faults of single values.

    Wrong values are taken out and the rest is read again, so that faults between keys show in the same run;
    where that does not help (a required key is wrong) there is no tree.
    """
    try:
        settings = Settings.model_validate(raw)
        faults: list[ConfigurationError] = []
    except pydantic.ValidationError as error:
        details = error.errors(include_url=False)
        faults = [fault_of(detail["loc"], detail) for detail in details]
        rest = tables_copied(raw)
        for detail in details:
            take_out(rest, detail["loc"])
        try:
            settings = Settings.model_validate(rest)
        except pydantic.ValidationError:
            return None, faults
    return with_paths(settings, directory), faults


def unexplained(
    follow: list[ConfigurationError], wrong: list[ConfigurationError]
) -> list[ConfigurationError]:
    """Without those that are there only because a wrong value was taken out: "required", which was given."""
    keys = {fault.key.rstrip("0123456789[]") for fault in wrong}
    return [fault for fault in follow if fault.key not in keys]


def fault_of(loc: tuple[int | str, ...], detail: Any) -> ConfigurationError:
    key = ""
    for step in loc:
        key += f"[{step}]" if isinstance(step, int) else f".{step}" if key else step
    if detail["type"] == "missing":
        return ConfigurationError(key, "required")
    if detail["type"] == "value_error":  # one of ours
        return ConfigurationError(key, str(detail["ctx"]["error"]))
    text = str(detail["msg"]).removeprefix("Input ")
    given = detail["input"]
    if isinstance(given, str | int | float) and SECRET_NAMES.isdisjoint(loc):
        text += f", not {given!r}"
    return ConfigurationError(key, text)


def take_out(raw: Any, loc: tuple[int | str, ...]) -> None:
    """Remove the value at `loc`; of a list of plain values the whole list goes."""
    for step, following in itertools.pairwise(loc):
        inner = raw.get(step) if isinstance(raw, dict) else raw[int(step)]
        table = isinstance(inner, dict)
        if not table and not (isinstance(inner, list) and isinstance(inner[int(following)], dict)):
            loc = (step,)
            break
        raw = inner
    if isinstance(raw, dict):
        raw.pop(loc[-1], None)


def with_paths(settings: Settings, directory: Path) -> Settings:
    """Files named in the configuration made absolute."""

    def absolute(section: Any) -> Any:
        found = {
            name: directory / value
            for name in type(section).model_fields
            if isinstance(value := getattr(section, name), Path)
        }
        return section.model_copy(update=found) if found else section

    tls = absolute(settings.sip.tls)
    tls = tls.model_copy(update={"certificates": tuple(map(absolute, tls.certificates))})
    result = settings.model_copy(
        update={
            "http": absolute(settings.http),
            "sip": settings.sip.model_copy(update={"tls": tls}),
            "agent": absolute(settings.agent),
            "mapping": absolute(settings.mapping),
            "store": absolute(settings.store),
            "applications": tuple(map(absolute, settings.applications)),
            "tokens": tuple(map(absolute, settings.tokens)),
            "auth": settings.auth.model_copy(update={"jwt": absolute(settings.auth.jwt)}),
        }
    )
    result._directory = directory
    return result


def password(application: ApplicationSettings) -> str | None:
    """The password in clear, from the key or the file; None where only a hash is known."""
    return clear("password", application.password, application.password_file)


def sip_password(application: ApplicationSettings) -> str | None:
    """The password for digest, None when there is none."""
    return clear("sip_password", application.sip_password, application.sip_password_file)


def webhook_secret(application: ApplicationSettings) -> str | None:
    """What its webhooks are signed with, None where it may have none."""
    if not application.webhooks:
        return None
    return clear("webhook_secret", application.webhook_secret, application.webhook_secret_file)


def tokens(settings: Settings) -> dict[str, tuple[str, str]]:
    """Every token written down, to (application, identity); files are read now."""
    found = {
        token_of(n, entry): (entry.application, entry.identity)
        for n, entry in enumerate(settings.tokens)
    }
    for application in settings.applications:
        for given in application.auth_tokens:
            found[given.get_secret_value()] = (application.id, "")
    return found


def clear(key: str, secret: SecretStr | None, path: Path | None) -> str | None:
    if secret is not None:
        return secret.get_secret_value()
    return read_secret(f"applications.{key}_file", path) if path is not None else None


# --- printing -----------------------------------------------------------------------------------------


def to_toml(settings: Settings, masked: bool = True) -> str:
    """The merged tree as TOML; absent optional values are left out, secrets shown as asterisks."""
    import tomli_w

    return tomli_w.dumps(as_table(settings, masked))


REPEATED = (
    "presence_servers",
    "peers",
    "applications",
    "groups",
    "policies",
    "tokens",
    "identities",
    "certificates",
)
"""Tables that may be there many times: none is written as none."""


def as_table(section: BaseModel, masked: bool) -> Raw:
    table: Raw = {}
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), field.alias or name
        if value is None and not isinstance(section, ApplicationSettings):
            table[key] = ""
        elif value is not None and (value or name not in REPEATED):
            table[key] = as_value(value, masked)
    return table


def as_value(value: Any, masked: bool) -> Any:
    if isinstance(value, BaseModel):
        return as_table(value, masked)
    if isinstance(value, SecretStr):
        return MASK if masked else value.get_secret_value()
    if isinstance(value, tuple):
        return [as_value(item, masked) for item in value]
    return str(value) if isinstance(value, str | Path) else value
