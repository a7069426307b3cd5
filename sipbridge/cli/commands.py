"""The list of commands: options are read here, the work is elsewhere and fetched when it is needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sipbridge import __version__
from sipbridge.cli.completion import MAPPINGS, TRANSPORTS, one_of, values_of
from sipbridge.cli.files import print_json, read_input, wrong

if TYPE_CHECKING:
    from sipbridge.mapping.table import Tables

app = typer.Typer(
    name="sipbridge",
    help="SIP SIMPLE presence on one side, plain JSON on the other.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path | None, typer.Option("-c", "--config", metavar="FILE")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides one key; may be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
InputFile = Annotated[str | None, typer.Argument(metavar="FILE", help="Default: standard input.")]


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"sipbridge {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """SIP SIMPLE presence on one side, plain JSON on the other."""


def overridden(pairs: Sequence[str] | None) -> dict[str, object]:
    from sipbridge.app.settings_sources import environment_value

    result: dict[str, object] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.Exit(wrong(f"--set {pair}: KEY=VALUE is expected"))
        result[key] = environment_value(value)
    return result


# --- the bridge ---------------------------------------------------------------------------------------


@app.command()
def serve(config: ConfigFile = None, set_: Overrides = None) -> None:
    """Run the bridge in the foreground; SIGTERM ends it."""
    from sipbridge.cli import serve as command
    from sipbridge.cli.process import run

    raise typer.Exit(run(command.run(config, overridden(set_))))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Each step as a line of JSON too.")] = False,
) -> None:
    """The main job on real sockets, each step checked and shown."""
    import asyncio

    from sipbridge.cli import demo as command

    raise typer.Exit(asyncio.run(command.run(keep, json)))


@app.command("check-config")
def check_config(
    config: Annotated[Path, typer.Option("-c", "--config", metavar="FILE")],
    set_: Overrides = None,
    json: Json = False,
) -> None:
    """Check a configuration file: silent when it is good, else one line for each fault."""
    from sipbridge.app.settings import ConfigurationErrors, load

    try:
        load(config, overridden(set_))
    except ConfigurationErrors as wrong_ones:
        if not json:
            raise
        faults = [{"key": f.key, "expected": f.expected} for f in wrong_ones.faults]
        print_json({"valid": False, "faults": faults})
        raise typer.Exit(2) from None
    if json:
        print_json({"valid": True, "faults": []})


@app.command("print-config")
def print_config(config: ConfigFile = None, set_: Overrides = None, json: Json = False) -> None:
    """Print the merged configuration as TOML, secrets masked."""
    from sipbridge.app.settings import as_table, load, to_toml

    settings = load(config, overridden(set_))
    if json:
        print_json(as_table(settings, masked=True))
    else:
        print(to_toml(settings), end="")


@app.command("hash-password")
def hash_password(
    ha1: Annotated[
        tuple[str, str] | None,
        typer.Option("--ha1", metavar="USER REALM", help="Lines for agent.users_file."),
    ] = None,
    json: Json = False,
) -> None:
    """Read a password from the terminal or standard input, print its hash."""
    from sipbridge.cli.hash_password import ask, hash_lines

    lines = hash_lines(ask(), ha1)
    if json:
        print_json({"hashes": lines})
    else:
        print("\n".join(lines))


# --- documents and messages ---------------------------------------------------------------------------


@app.command()
def decode(
    file: InputFile = None,
    pcap: Annotated[
        Path | None,
        typer.Option("--pcap", metavar="FILE", help="Every message of a capture, one line each."),
    ] = None,
) -> None:
    """Read one SIP message, print what it says and whether it would be accepted."""
    from sipbridge.cli.decode import decode as read
    from sipbridge.cli.decode import decode_capture

    if pcap is not None:
        raise typer.Exit(decode_capture(pcap))
    told = read(read_input(file))
    print_json(told)
    raise typer.Exit(1 if told.get("verdict") == "reject" else 0)


@app.command()
def inspect(file: InputFile = None) -> None:
    """Read one presence document, print what it states and what had to be tolerated."""
    from sipbridge.cli.inspect import inspect_bytes

    status, facts = inspect_bytes(read_input(file))
    print_json(facts)
    raise typer.Exit(status)


@app.command()
def validate(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE…")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Rules that no schema can state count too.")
    ] = False,
) -> None:
    """Check documents against the schemas, one JSON line each."""
    from sipbridge.cli.validate import validate_bytes, with_progress

    bodies = [(name, read_input(name)) for name in files or ["-"]]
    told = (validate_bytes(body, name, strict) for name, body in bodies)
    valid = True
    for each in with_progress(told, len(bodies)):
        print_json(each, line=True)
        valid = valid and each["valid"] is True
    raise typer.Exit(0 if valid else 1)


@app.command("map")
def map_(
    file: InputFile = None,
    to: Annotated[
        str,
        typer.Option(metavar="|".join(MAPPINGS), autocompletion=one_of(*MAPPINGS)),
    ] = "attributes",
    at: Annotated[str, typer.Option(metavar="TIME", help="ISO 8601; default: now.")] = "",
    entity: Annotated[str | None, typer.Option(metavar="URI", help="The presentity.")] = None,
    config: ConfigFile = None,
) -> None:
    """Map a presence document to JSON, or with --to document JSON to a presence document."""
    from datetime import UTC, datetime

    from sipbridge.cli.map import map_document, read_time

    tables = configured_tables(config)
    when = read_time(at) if at else datetime.now(UTC)
    result = map_document(read_input(file), to, when, entity, tables)
    if to == "document":
        print(result)
    else:
        print_json(result)


@app.command()
def tables(
    json: Json = False,
    config: ConfigFile = None,
) -> None:
    """Show the mapping tables and the codes of deviations."""
    from sipbridge.cli.tables import as_json, as_text

    found = configured_tables(config)
    if json:
        print_json(as_json(found))
    else:
        print(as_text(found), end="")


def configured_tables(config: Path | None) -> "Tables":
    """With what `mapping.file` of the configuration lays over them."""
    if config is None:
        from sipbridge.mapping.table import DEFAULT

        return DEFAULT
    from sipbridge.app.settings import load, read_tables

    return read_tables(load(config).mapping.file)


@app.command()
def trace(
    pcap: Annotated[
        Path | None, typer.Option("--pcap", metavar="FILE", help="From a pcap or pcapng file.")
    ] = None,
    url: Annotated[
        str, typer.Option("--url", metavar="ADMIN", help="http://HOST:PORT/admin of a bridge.")
    ] = "",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="The operator's.")
    ] = None,
    dialog: Annotated[str, typer.Option(metavar="CALL-ID", help="Only this dialog.")] = "",
    watcher: Annotated[str, typer.Option(metavar="URI", help="Only to or from this one.")] = "",
    peer: Annotated[str, typer.Option(metavar="HOST[:PORT]", help="Only this peer.")] = "",
    json: Annotated[bool, typer.Option("--json", help="A line of JSON for each message.")] = False,
) -> None:
    """Show SIP messages as a ladder, from a capture file or from a running bridge."""
    from sipbridge.cli import trace as command
    from sipbridge.cli.connection import first_line
    from sipbridge.observability.capture import Selection

    password = first_line(password_file) if password_file else None
    chosen = Selection(dialog, watcher, peer)
    raise typer.Exit(command.run(pcap, url, password, chosen, json))


# --- SIP clients --------------------------------------------------------------------------------------

LONGEST = 2**32 - 1
"""Seconds that Expires can say (RFC 3261 §20.19)."""

Server = Annotated[
    str,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        help="Default: 127.0.0.1; port 5060, tls 5061, ws 80, wss 443.",
    ),
]
Transport = Annotated[
    str,
    typer.Option("--transport", metavar="|".join(TRANSPORTS), autocompletion=one_of(*TRANSPORTS)),
]
From = Annotated[str, typer.Option("--from", metavar="URI")]
User = Annotated[str, typer.Option("--user", help="For digest; default: the user part of --from.")]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", metavar="FILE")]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca-file", metavar="FILE", help="Authorities to trust, PEM."),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Do not check certificates.")]
Header = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="NAME:VALUE", help="Sent too; may be repeated."),
]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept", metavar="TYPE", help="Body types; may be repeated."),
]
Event = Annotated[
    str, typer.Option("--event", metavar="NAME", help="Event package; default: presence.")
]
Trace = Annotated[
    Path | None,
    typer.Option("--trace", metavar="FILE.pcap", help="Record every message there."),
]


@app.command()
def publish(
    uri: Annotated[str, typer.Argument(metavar="URI")],
    activity: Annotated[
        str,
        typer.Option(
            help="Activity, such as Meeting or on-the-phone.", autocompletion=values_of("Activity")
        ),
    ] = "",
    place: Annotated[str, typer.Option(autocompletion=values_of("Place"))] = "",
    sphere: Annotated[str, typer.Option(autocompletion=values_of("Sphere"))] = "",
    privacy: Annotated[str, typer.Option(autocompletion=values_of("Privacy"))] = "",
    note: str = "",
    file: Annotated[
        str | None, typer.Option(metavar="PIDF", help="This document as it is.")
    ] = None,
    expires: Annotated[int | None, typer.Option(min=1, max=LONGEST, metavar="SECONDS")] = None,
    once: Annotated[bool, typer.Option("--once", help="End after the 200.")] = False,
    server: Server = "",
    transport: Transport = "udp",
    from_: From = "",
    user: User = "",
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
    insecure: Insecure = False,
    header: Header = None,
    accept: Accept = None,
    event: Event = "",
    trace: Trace = None,
) -> None:
    """Publish presence as a SIP user agent and keep it refreshed until interrupted."""
    import asyncio

    from sipbridge.cli import publish as command
    from sipbridge.cli.connection import address, connection
    from sipbridge.cli.wishes import wishes

    peer = connection(server, transport, from_, user, password_file, ca_file, insecure)
    words = {
        "activity": activity,
        "place": place,
        "sphere": sphere,
        "privacy": privacy,
        "note": note,
    }
    document = read_input(file) if file is not None else None
    given = {name: word for name, word in words.items() if word}
    if document is not None and given:
        raise typer.Exit(wrong(f"--file and --{next(iter(given))} exclude each other"))
    published = address("URI", uri)
    wished = wishes(header or (), accept or (), event, expires, trace)
    if document is None and (given_type := wished.content_type):
        raise typer.Exit(wrong(f"--header Content-Type: {given_type} needs --file"))
    raise typer.Exit(asyncio.run(command.run(published, peer, given, document, wished, once)))


@app.command()
def watch(
    uris: Annotated[list[str], typer.Argument(metavar="URI...")],
    winfo: Annotated[
        bool, typer.Option("--winfo", help="Who watches them, not what they do.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print bodies too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Lines of JSON on a terminal too.")] = False,
    server: Server = "",
    transport: Transport = "udp",
    from_: From = "",
    user: User = "",
    password_file: PasswordFile = None,
    ca_file: CaFile = None,
    insecure: Insecure = False,
    header: Header = None,
    accept: Accept = None,
    event: Event = "",
    expires: Annotated[
        int | None,
        typer.Option(min=0, max=LONGEST, metavar="SECONDS", help="0: look once."),
    ] = None,
    trace: Trace = None,
) -> None:
    """Subscribe as a SIP watcher and show notifications until interrupted.

    A line of JSON for each; on a terminal a table that follows them.
    """
    import asyncio

    from sipbridge.cli import watch as command
    from sipbridge.cli.connection import address, connection
    from sipbridge.cli.wishes import wishes

    peer = connection(server, transport, from_, user, password_file, ca_file, insecure)
    watched = [address("URI", uri) for uri in uris]
    if winfo and event:
        raise typer.Exit(wrong("--winfo and --event exclude each other"))
    wished = wishes(header or (), accept or (), event, expires, trace)
    if wished.content_type:
        raise typer.Exit(wrong("--header Content-Type: a SUBSCRIBE has no body"))
    raise typer.Exit(asyncio.run(command.run(watched, peer, wished, winfo, raw, json)))
