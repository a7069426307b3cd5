"""The gate of the presence routes: from request headers to the caller, or a fault.

In this order: credentials, the application's rate of requests, its session where sessions are on, and the
identity it acts as. An application has one identity of its own; one that may act for others
(`acts_for`) names the identity with each request in `X-Presence-Identity`, and the caller's address and key
follow. Everything else about a request is looked at behind the gate.
"""

from collections.abc import Callable, Mapping

from sipbridge.errors import AgainstPolicy
from sipbridge.gateway.caller import Caller
from sipbridge.rest.quotas import NO_LIMIT, Rate
from sipbridge.rest.security import Authenticator
from sipbridge.rest.sessions import Sessions

IDENTITY = "x-presence-identity"
REQUESTS = "requests-per-second"
"""The quota's name in faults and metrics."""

Acting = Callable[[Caller, str], Caller]
"""The caller as the identity it names. Raises AgainstPolicy when it may not, InvalidValue for no address."""


class Gate:
    """An authenticator that also keeps the rules of the house. Raises Refused and GatewayError."""

    def __init__(
        self,
        authenticate: Authenticator,
        *,
        sessions: Sessions | None = None,
        rate: Rate = NO_LIMIT,
        acting: Acting | None = None,
    ) -> None:
        self.authenticate = authenticate
        self.sessions = sessions
        self.rate = rate
        self.acting = acting

    async def __call__(self, headers: Mapping[str, str]) -> Caller | None:
        caller = await self.authenticate(headers)
        return None if caller is None else self.admit(caller, headers)

    def admit(self, caller: Caller, headers: Mapping[str, str]) -> Caller:
        """Whoever has proved who they are, as the identity they name."""
        self.rate.require(caller.application, REQUESTS)
        if self.sessions is not None:
            self.sessions.require(caller, headers)
        named = headers.get(IDENTITY)
        if named is not None and self.acting is not None:
            return self.named(caller, self.acting(caller, named))
        return caller

    def named(self, caller: Caller, wanted: Caller) -> Caller:
        """Who is bound to a person by its credentials may name that person, and nobody else."""
        if not caller.bound:
            return wanted
        if wanted.key != caller.key:
            detail = f"these credentials are of {caller.identity}"
            raise AgainstPolicy(detail, rule="identity", part=IDENTITY.title())
        return caller


def application_only(gate: Authenticator) -> Authenticator:
    """A gate to what an application holds for all its people: no door for one of them alone."""

    async def asked(headers: Mapping[str, str]) -> Caller | None:
        caller = await gate(headers)
        if caller is not None and caller.bound:
            detail = f"credentials of {caller.identity} do not open what is {caller.application}'s"
            raise AgainstPolicy(detail, rule="identity")
        return caller

    return asked
