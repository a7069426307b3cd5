"""Profiles of presence servers: what a kind of server needs that differs, as a small TOML file.

`configs/peers` holds those that come with us, each line with its reason and where that is known from; a path
names one of the user's own. A profile fills in the `PeerPolicy` of a server; what the configuration says
of the server itself (where it is, how it knows us) is not its business. Keys that are absent keep their
defaults, unknown ones are refused.
"""

from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from sipbridge.app.settings_sources import read_toml
from sipbridge.app.settings_tree import Section
from sipbridge.errors import ConfigurationError
from sipbridge.sip.policy import CAN_FETCH, CAN_PUBLISH, CAN_WINFO, Groups, PeerPolicy

Word = Annotated[str, Field(min_length=1, max_length=256)]
Event = Annotated[str, Field(pattern=r"^[A-Za-z0-9\-.!%*_+`'~]+$", max_length=256)]
"""An event-type: token-nodots, with templates (RFC 6665 §8.4)."""


class Coding(StrEnum):
    """Content codings (RFC 3261 §20.12)."""

    GZIP = "gzip"
    DEFLATE = "deflate"


class Profile(Section):
    """One file.

    fetch: a SUBSCRIBE with Expires 0 brings the state. winfo: it tells who watches (RFC 3857). publish: it
    takes publications. expires: seconds asked for. event_names: its own spelling of event packages, by ours.
    strict_documents: it refuses what the schemas refuse. conditional: RFC 5839, rate_control: RFC 6446,
    partial_notify: RFC 5263; all fall back by themselves where they are not known, false saves the try.
    partial_publish: RFC 5264, where it says that it takes parts. filters: RFC 4660, it takes event filters.
    groups, groups_abroad: how the members of a `[[groups]]` entry are watched, see `PeerPolicy`.
    encodings: content codings taken from it, and sent where it says that it takes them.
    placeholders: ids of tuples that it makes up itself where nothing is known.
    """

    fetch: bool = True
    winfo: bool = True
    publish: bool = True
    expires: Annotated[int, Field(ge=1, le=2**31)] | None = None
    event_names: dict[Word, Event] = {}
    strict_documents: bool = False
    conditional: bool = True
    rate_control: bool = True
    partial_notify: bool = True
    partial_publish: bool = True
    filters: bool = False
    groups: Groups = Groups.EACH
    groups_abroad: bool = False
    encodings: tuple[Coding, ...] = (Coding.GZIP, Coding.DEFLATE)
    placeholders: tuple[Word, ...] = ()

    def applied(self, policy: PeerPolicy) -> PeerPolicy:
        """The policy of a server of this kind."""
        words = {CAN_FETCH: self.fetch, CAN_WINFO: self.winfo, CAN_PUBLISH: self.publish}
        able = {word for word, is_able in words.items() if is_able}
        return replace(
            policy,
            capabilities=(policy.capabilities - words.keys()) | able,
            expires=self.expires,
            event_names=tuple(self.event_names.items()),
            strict_documents=self.strict_documents,
            conditional=self.conditional,
            rate_control=self.rate_control,
            partial_notify=self.partial_notify,
            partial_publish=self.partial_publish,
            filters=self.filters,
            groups=self.groups,
            groups_abroad=self.groups_abroad,
            encodings=tuple(coding.value for coding in self.encodings),
            placeholders=frozenset(self.placeholders),
        )


def folder() -> Path:
    """Where the profiles are that come with us."""
    here = Path(__file__)
    in_package = here.parents[1] / "peers"
    return in_package if in_package.is_dir() else here.parents[2] / "configs" / "peers"


def known() -> list[str]:
    """The names of those."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def load_profile(key: str, name: str, directory: Path) -> Profile:
    """The profile of that name; "" is none, one with "/" or ".toml" a path, relative to `directory`.

    Raises ConfigurationError with `key` and what is wrong.
    """
    if not name:
        return Profile()
    if "/" in name or name.endswith(".toml"):
        return read_profile(key, directory / name)
    if name not in known():
        there = ", ".join(known())
        raise ConfigurationError(
            key, f"no profile {name!r}; there are {there}, or a path to a file"
        )
    return read_profile(key, folder() / f"{name}.toml")


@lru_cache(maxsize=64)
def read_profile(key: str, path: Path) -> Profile:
    try:
        return Profile.model_validate(read_toml(path))
    except ConfigurationError as error:
        raise ConfigurationError(key, str(error)) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(key, f"{path}: {where}: {first['msg']}") from None
