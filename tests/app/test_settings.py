"""The configuration: every fault is found and named, nothing is ignored, secrets stay secret."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from sipbridge.app.settings import (
    ConfigurationErrors,
    Endpoint,
    Settings,
    load,
    password,
    read_tables,
    read_users,
    sip_password,
    to_toml,
    tokens,
    webhook_secret,
)
from sipbridge.app.settings_sources import KNOWN, LATER
from tests.transports.certificates import Authority

EXAMPLE = Path(__file__).parents[2] / "configs" / "sipbridge.toml"
ALICE = """
[[applications]]
id = "app_alice"
password = "secret"
uri = "sip:alice@example.com"
"""


def read(
    tmp_path: Path,
    text: str,
    environ: Mapping[str, str] | None = None,
    **overrides: object,
) -> Settings:
    path = tmp_path / "sipbridge.toml"
    path.write_text(text)
    return load(path, overrides, environ=environ or {})


def faults(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationErrors) as caught:
        read(tmp_path, text, environ)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.faults)
    return lines


def test_without_a_file_the_defaults_hold() -> None:
    settings = load(environ={})
    assert settings.http.port == 8080
    assert settings.sip.endpoints == (
        Endpoint("udp", "127.0.0.1", 5060),
        Endpoint("tcp", "127.0.0.1", 5060),
    )
    assert settings.embedded
    assert settings.applications == ()


def test_the_example_file_shows_every_key_with_its_default() -> None:
    shown = tomllib.loads(EXAMPLE.read_text())
    assert shown == tomllib.loads(to_toml(load(environ={})))


def test_the_example_file_shows_the_keys_of_repeated_tables_as_comments() -> None:
    text = EXAMPLE.read_text()
    repeated = {key.split(".")[-1] for key in KNOWN if "[]" in key}
    missing = [key for key in repeated if key not in text]
    assert missing == []


def test_commented_tables_of_the_example_file_work_when_uncommented(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    pair = Authority(tmp_path).issue("other", ["other.example"])
    pair.cert.rename(tmp_path / "other.pem")
    tables = "\n".join(
        line.removeprefix("# ") for line in text.split("log_age")[1].splitlines()[1:]
    )
    settings = read(tmp_path, tables)
    assert settings.applications[0].id == "app_alice"
    assert settings.sip.tls.certificates[0].key == pair.key
    assert settings.server_for("Partner.Example").next_hop == ("sip:192.0.2.9:5060;transport=udp",)
    assert settings.server_for("elsewhere.example") is settings.presence_server


def test_command_line_wins_over_environment_over_file(tmp_path: Path) -> None:
    text = "[http]\nport = 1\nhost = '::1'\npublic_url = 'http://a'\n"
    environ = {"SIPBRIDGE_HTTP__PORT": "2", "SIPBRIDGE_HTTP__PUBLIC_URL": "http://b"}
    settings = read(tmp_path, text, environ, **{"http.port": 3})
    http = settings.http
    assert (http.host, http.public_url, http.port) == ("::1", "http://b", 3)


def test_environment_reaches_lists_and_numbered_tables(tmp_path: Path) -> None:
    environ = {
        "SIPBRIDGE_SIP__LISTEN": "udp:127.0.0.1:0, tcp:127.0.0.1:0",
        "SIPBRIDGE_HTTP__ALLOWED_ORIGINS": '["https://a.example"]',
        "SIPBRIDGE_APPLICATIONS__0__SIP_PASSWORD": "from-env",
        "SIPBRIDGE_APPLICATIONS__1__ID": "bob",
        "SIPBRIDGE_APPLICATIONS__1__PASSWORD": "b",
        "SIPBRIDGE_APPLICATIONS__1__URI": "sip:bob@example.com",
        "SIPBRIDGE_CORPUS": "/no/configuration",
    }
    settings = read(tmp_path, ALICE, environ)
    assert settings.sip.listen == ("udp:127.0.0.1:0", "tcp:127.0.0.1:0")
    assert settings.http.allowed_origins == ("https://a.example",)
    alice, bob = settings.applications
    assert (password(alice), sip_password(alice), bob.identity.user) == (
        "secret",
        "from-env",
        "bob",
    )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("SIPBRIDGE_HTP__PORT", "htp.port: unknown key"),
        ("SIPBRIDGE_HTTP__PROT", "http.prot: unknown key; did you mean http.port?"),
        ("SIPBRIDGE_SIP__TLS__CERT", "sip.tls.key: cert and key belong together"),
        ("SIPBRIDGE_HTTP__PORT__X", "http.port: "),
        ("SIPBRIDGE_APPLICATIONS__X__ID", "applications: "),
        ("SIPBRIDGE_APPLICATIONS__99999999__ID", "applications.99999999.id: "),
    ],
)
def test_wrong_variables_are_refused(tmp_path: Path, name: str, key: str) -> None:
    assert any(line.startswith(key) for line in faults(tmp_path, "", {name: "1"}))


def test_every_fault_is_listed_with_its_full_key(tmp_path: Path) -> None:
    text = """
    [http]
    prot = 1
    port = 70000
    host = "0.0.0.0"
    [sip]
    listen = ["udp:127.0.0.1:5060", "carrier-pigeon:x"]
    [agent]
    sub_handling = "perhaps"
    [presence_server]
    xcap_root = "http://127.0.0.1/"
    [[applications]]
    id = "a b"
    password = "p"
    uri = "sip:a@example.com"
    """
    keys = [line.split(": ")[0] for line in faults(tmp_path, text)]
    assert keys == [
        "http.prot",
        "presence_server.xcap_root",
        "http.port",
        "sip.listen[1]",
        "agent.sub_handling",
        "applications[0].id",
    ]


def test_faults_between_keys_show_beside_wrong_values(tmp_path: Path) -> None:
    text = "[http]\nport = 'x'\nhost = '0.0.0.0'\n[sip]\nlisten = ['udp:0.0.0.0:5060']\n"
    keys = [line.split(": ")[0] for line in faults(tmp_path, text)]
    assert keys == ["http.port", "http.allow_plain", "sip.advertise", "agent.authenticate"]


@pytest.mark.parametrize("key", sorted(LATER))
def test_a_key_of_a_later_version_is_known_and_refused(tmp_path: Path, key: str) -> None:
    *sections, name = key.split(".")
    if not sections:
        text = f"[[{name}]]\nx = 1\n"
    else:
        section = ".".join(sections)
        header = f"[[{section[:-2]}]]" if section.endswith("[]") else f"[{section}]"
        value = "true" if LATER[key] == (False,) else '"x"'
        text = f"{header}\n{name} = {value}\n"
    shown = key.replace("[]", "[0]")
    assert f"{shown}: not in this version" in faults(tmp_path, text)


def test_a_key_of_a_later_version_may_be_written_as_off(tmp_path: Path) -> None:
    text = """
    groups = []
    [sip.tls]
    cert = ""
    [presence_server]
    xcap_root = ""
    [admin]
    password_hash = ""
    [[applications]]
    id = "a"
    password = "p"
    uri = "sip:a@example.com"
    webhooks = false
    auth_tokens = []
    """
    assert read(tmp_path, text).applications[0].id == "a"


NO = "not in this version"


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        ("[sip]\nlisten = ['tls:[::1]:5061']", "sip.tls.cert", "required for the listener tls:[::1]:5061"),
        ("[sip]\nlisten = ['wss:127.0.0.1:80']", "sip.tls.key", "required for the listener wss:127.0.0.1:80"),
        ("[sip]\nlisten = ['sctp:127.0.0.1:80']", "sip.listen[0]", "is not udp:HOST:PORT"),
        ("[sip.tls]\nkey = 'x'", "sip.tls.cert", "cert and key belong together"),
        ("[sip.tls]\nca = '/no/such'", "sip.tls.ca", "/no/such: No such file or directory"),
        ("[sip.tls]\nverify = 'some'", "sip.tls.verify", "should be 'peer', 'mutual' or 'none', not 'some'"),
        ("[[sip.tls.certificates]]\ncert = 'x'", "sip.tls.certificates[0].key", "cert and key belong"),
        (
            "[sip]\nlisten = ['ws:127.0.0.1:0']\n[presence_server]\nmode = 'remote'\nnext_hop = 'sip:h'",
            "sip.listen",
            "ws:127.0.0.1:0 is for user agents, which only the embedded agent serves",
        ),
        ("[sip]\nlisten = ['udp:127.0.0.1']", "sip.listen[0]", "has no port"),
        ("[sip]\nlisten = []", "sip.listen", "at least one listener"),
        ("[sip]\nlisten = ['udp:[::1]:9', 'udp:[::1]:9']", "sip.listen", "listed twice"),
        ("[sip]\nadvertise = ['udp:0.0.0.0:9']", "sip.advertise", "is a wildcard address"),
        ("[sip]\nlisten = ['udp:[::1]:9']\nadvertise = ['tcp:[::1]:9']", "sip.advertise", "no tcp listener"),
        ("[sip]\ndomain = ''", "sip.domain", "at least 1 character"),
        ("[sip]\ndomain = 'a b'", "sip.domain", "'a b' is not a host name"),
        ("[sip]\nminimum_digest = 'MD4'", "sip.minimum_digest", "'SHA-256' or 'SHA-512-256', not 'MD4'"),
        ("[sip]\nname_servers = ['dns.example']", "sip.name_servers[0]", "is not an address like 192.0.2.53"),
        ("[sip]\nname_servers = ['::1', '::1']", "sip.name_servers", "::1 is listed twice"),
        ("[sip]\ndns = false\nname_servers = ['::1']", "sip.name_servers", "dns = false leaves names to"),
        ("[sip]\ndns_timeout = 11", "sip.dns_timeout", "less than or equal to 10"),
        ("[sip]\nfailover_after = 30", "sip.failover_after", "less than or equal to 20"),
        ("[http]\nport = true", "http.port", "a number is expected"),
        ("[http]\nport = 'x'", "http.port", "should be a valid integer"),
        ("[http]\ndocs = 'admin'", "http.docs", "'admin' needs admin.password_hash"),
        ("[http]\nmetrics = 'admin'", "http.metrics", "'admin' needs admin.password_hash"),
        ("[http]\nmetrics = 'shut'", "http.metrics", "should be 'open' or 'admin', not 'shut'"),
        ("[admin]\npassword_hash = 'x'", "admin.password_hash", "not a hash made by"),
        ("[ocsg]\nsession_lifetime = 0", "ocsg.session_lifetime", "should be greater than 0"),
        ("[limits]\nmax_contracts = -1", "limits.max_contracts", "should be greater than or"),
        ("[http]\nallowed_origins = ['app.example.com']", "http.allowed_origins[0]", "is not '*' or"),
        ("[http]\npublic_url = 'ftp://a'", "http.public_url", "is not an http or https URL"),
        ("[http]\ntls_cert = 'c.pem'", "http.tls_key", "belong together"),
        ("[http]\ntls_cert = 'c.pem'", "http.tls_cert", "No such file"),
        ("[http]\nhost = '0.0.0.0'", "http.allow_plain", "passwords without TLS on 0.0.0.0"),
        ("[ocsg]\nerror_envelope = 'soap'", "ocsg.error_envelope", "should be 'parlayx' or 'oneapi'"),
        ("[store]\nurl = 'postgresql://x'", "store.url", f"postgresql stores are {NO}"),
        ("[store]\nurl = 'sqlite:state.db'", "store.url", "is not memory://"),
        ("[presence_server]\nmode = 'remote'", "presence_server.next_hop", "required in remote mode"),
        ("[presence_server]\nregister = true", "presence_server.register", "is for remote mode"),
        ("[presence_server]\nregister = 1.5", "presence_server.register", "boolean"),
        ("[presence_server]\nnext_hop = 'sip:a;transport=ws'", "presence_server.next_hop[0]", NO),
        ("[presence_server]\nnext_hop = 'sip:a;transport=sctp'", "presence_server.next_hop[0]", "tcp or tls"),
        ("[presence_server]\nnext_hop = 'sips:a;transport=udp'", "presence_server.next_hop[0]", "it is tls"),
        ("[presence_server]\nnext_hop = 'tel:+1'", "presence_server.next_hop[0]", "not a sip or sips URI"),
        ("[presence_server]\nnext_hop = ['http://a']", "presence_server.next_hop[0]", "not a sip or sips"),
        ("[presence_server]\nnext_hop = ['sip:']", "presence_server.next_hop[0]", "uri: "),
        ("[[presence_servers]]\ndomain = 'b.example'", "presence_servers[0].domain", "the embedded agent"),
        ("[[presence_servers]]\nnext_hop = 'sip:a'", "presence_servers[0].domain", "required"),
        ("[agent]\nmin_expires = 7200", "agent.default_expires", "min_expires <= default_expires"),
        ("[agent]\ntrusted_peers = ['a b']", "agent.trusted_peers[0]", "no address, no network and no host"),
        ("[agent]\ntrusted_peers = '192.0.2.1/24'", "agent.trusted_peers[0]", "has host bits set"),
        ("[agent]\ntrusted_peers = '192.0.2.999'", "agent.trusted_peers[0]", "192.0.2.999"),
        ("[agent]\ntrusted_peers = 'scscf.example.com'", "agent.trusted_peers", 'verify = "mutual"'),
        ("[agent]\nusers_file = 'absent'", "agent.users_file", "No such file"),
        ("[bayeux]\ntimeout = 0", "bayeux.timeout", "should be greater than 0, not 0"),
        ("[bayeux]\ntimeout = inf", "bayeux.timeout", "should be"),
        ("[limits]\nmax_count = -1", "limits.max_count", "should be greater than or equal to 0"),
        ("http = 3", "http", "should be a valid dictionary"),
        ("[applications]\nid = 'x'", "applications", "should be a valid tuple"),
        ("sip.tls = 3", "sip.tls", "is a section, not a value"),
        ("[nonsense]\nx.y = 1", "nonsense.x.y", "unknown key"),
        ("nonsense = 1", "nonsense", "unknown key"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(tmp_path: Path, text: str, key: str, why: str) -> None:
    found = faults(tmp_path, text)
    assert [said for said in found if said.startswith(f"{key}: ") and why in said], found


def test_remote_servers_of_other_domains_need_a_next_hop(tmp_path: Path) -> None:
    remote = "[[presence_servers]]\nmode = 'remote'\ndomain = 'b.example'\n"
    assert faults(tmp_path, remote) == ["presence_servers[0].next_hop: required in remote mode"]
    twice = remote + "next_hop = 'sip:b'\n"
    assert faults(tmp_path, twice + twice) == [
        "presence_servers[1].domain: b.example is listed twice"
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("id = 'app/alice'", "id: 'app/alice' is not a Bayeux channel segment"),
        ("id = ''", "id: String should have at least 1 character"),
        ("uri = 'alice'", "uri: uri: "),
        ("uri = 'sips:alice@example.com'", f"uri: 'sips:alice@example.com': sips identities are {NO}"),
        ("uri = 'sip:example.com'", "uri: 'sip:example.com' is not a SIP identity"),
        ("uri = 'tel:+15551234'", "uri: 'tel:+15551234' is not a SIP identity"),
        ("password_file = 'x'", "password: exactly one of"),
        ("password_hash = '$argon2id$x'", "password: exactly one of"),
        ("password = ''", "password: is empty"),
        ("sip_password = 's'\nsip_password_file = 'x'", "sip_password: not both"),
    ],
)  # fmt: skip
def test_a_wrong_application_is_named(tmp_path: Path, change: str, why: str) -> None:
    name = change.split(" ")[0]
    kept = [row for row in ALICE.splitlines() if row.split(" ")[0] != name]
    found = faults(tmp_path, "\n".join([*kept, change]))
    assert [said for said in found if said.startswith(f"applications[0].{why}")], found


def test_an_application_without_a_password_is_refused(tmp_path: Path) -> None:
    text = ALICE.replace('password = "secret"', "")
    assert faults(tmp_path, text) == [
        "applications[0].password: exactly one of password, password_file, password_hash"
    ]


def test_application_ids_are_unique(tmp_path: Path) -> None:
    assert faults(tmp_path, ALICE + ALICE) == ["applications[1].id: 'app_alice' is listed twice"]


HOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_webhooks_have_a_secret_of_their_own(tmp_path: Path) -> None:
    hooked = f'{ALICE}webhooks = true\nwebhook_secret = "{HOOK_SECRET}"\n'
    settings = read(tmp_path, hooked)
    assert webhook_secret(settings.applications[0]) == HOOK_SECRET
    assert HOOK_SECRET not in repr(settings) and HOOK_SECRET not in to_toml(settings)
    off = read(tmp_path, hooked.replace("true", "false"))
    assert webhook_secret(off.applications[0]) is None


def test_a_webhook_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "hook.secret").write_text(HOOK_SECRET + "\n")
    text = f'{ALICE}webhooks = true\nwebhook_secret_file = "hook.secret"\n'
    assert webhook_secret(read(tmp_path, text).applications[0]) == HOOK_SECRET
    (tmp_path / "hook.secret").write_text("too short\n")
    (said,) = faults(tmp_path, text)
    assert said.startswith("applications[0].webhook_secret_file: whsec_ and 24 to 64 bytes")
    assert "too short" not in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "applications[0].webhook_secret: webhooks need exactly one of"),
        ('webhook_secret = "open sesame"', "applications[0].webhook_secret: whsec_ and 24 to 64"),
        (
            f'webhook_secret = "{HOOK_SECRET}"\nwebhook_secret_file = "nowhere"',
            "applications[0].webhook_secret: webhooks need exactly one of",
        ),
    ],
)
def test_webhooks_without_a_good_secret_are_refused(tmp_path: Path, given: str, said: str) -> None:
    found = faults(tmp_path, f"{ALICE}webhooks = true\n{given}\n")
    assert found[0].startswith(said)
    assert not any("sesame" in fault for fault in found)


SIGNED = "[auth.jwt]\nissuer = 'https://i'\naudience = 'a'\n"
TOKEN = "0123456789abcdef"
ENTRY = f"[[tokens]]\ntoken = '{TOKEN}'\napplication = 'app_alice'\n"
PERSON = "[[identities]]\nuri = 'sip:alice@example.com'\naliases = ['tel:+1555']\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[auth.jwt]\naudience = 'a'", "auth.jwt.issuer: required"),
        ("[auth.jwt]\nissuer = 'i'\nkeys_url = 'https://i/k'", "auth.jwt.audience: required"),
        (SIGNED, "auth.jwt.keys_file: exactly one of"),
        (SIGNED + "keys_file = 'absent'", "auth.jwt.keys_file: "),
        (SIGNED + "keys_file = 'sipbridge.toml'", "auth.jwt.keys_file: "),
        (SIGNED + "keys_url = 'http://i.example/k'", "auth.jwt.keys_url: 'http://i.example/k' is not"),
        (SIGNED + "keys_url = 'https://i/k'\nalgorithms = ['HS256']", "auth.jwt.algorithms[0]: should"),
        (SIGNED + "keys_url = 'https://i/k'\nalgorithms = ['none']", "auth.jwt.algorithms[0]: should be"),
        (SIGNED + "keys_url = 'https://i/k'\nalgorithms = []", "auth.jwt.algorithms: "),
        (SIGNED + "keys_url = 'https://i/k'\napplication = 'x'", "auth.jwt.application: there is no"),
        (SIGNED + "keys_url = 'https://i/k'\nleeway = 3600", "auth.jwt.leeway: "),
        (ENTRY.replace("app_alice", "x"), "tokens[0].application: there is no application 'x'"),
        (ENTRY + ENTRY, "tokens[1].token: is listed twice"),
        (ENTRY.replace(TOKEN, "short"), "tokens[0].token: a token has 16 to 4096"),
        (ENTRY + "token_file = 'absent'", "tokens[0].token: exactly one of token, token_file"),
        ("[[tokens]]\napplication = 'app_alice'", "tokens[0].token: exactly one of"),
        (ENTRY + "identity = 'tel:+1'", "tokens[0].identity: 'tel:+1' is not a SIP identity"),
        (ENTRY + "identity = 'sip:bob@example.com'", "tokens[0].identity: app_alice may not act as sip:bob@"),
        (PERSON.replace("tel:+1555", "fax:1"), "identities[0].aliases[0]: 'fax:1' is not a URI of"),
        (PERSON.replace("sip:alice", "tel:alice"), "identities[0].uri: "),
        (PERSON + PERSON.replace("alice", "bob"), "identities[1].aliases[0]: tel:+1555 is a name"),
    ],
)  # fmt: skip
def test_what_is_wrong_about_tokens_and_names(tmp_path: Path, text: str, said: str) -> None:
    found = faults(tmp_path, f"{ALICE}auth_tokens = ['fedcba9876543210']\n{text}\n")
    assert [line for line in found if line.startswith(said)], found
    assert not [line for line in found if TOKEN in line or "short" in line or "fedc" in line]


def test_tokens_of_files_and_of_applications(tmp_path: Path) -> None:
    (tmp_path / "bob.token").write_text(f"{TOKEN}\n")
    text = f"{ALICE}auth_tokens = ['fedcba9876543210']\nacts_for = ['sip:*@example.com']\n"
    entry = "[[tokens]]\ntoken_file = 'bob.token'\napplication = 'app_alice'\n"
    entry += "identity = 'sip:bob@example.com'\n"
    settings = read(tmp_path, text + entry)
    assert tokens(settings) == {
        TOKEN: ("app_alice", "sip:bob@example.com"),
        "fedcba9876543210": ("app_alice", ""),
    }
    assert "fedc" not in to_toml(settings) and "fedc" not in repr(settings)
    (tmp_path / "bob.token").write_text("short\n")
    assert "tokens[0].token_file: a token has 16 to 4096 visible ASCII characters" in faults(
        tmp_path, text + entry
    )


def test_no_fault_and_no_output_tells_a_secret(tmp_path: Path) -> None:
    wrong = ALICE.replace('"secret"', '"s3cr3t"') + 'password_hash = "h4sh"\nsip_password = 12345\n'
    said = "\n".join(faults(tmp_path, wrong))
    assert "applications[0].password_hash: not a hash" in said
    assert "applications[0].sip_password: should be a valid string" in said
    assert "h4sh" not in said and "12345" not in said and "s3cr3t" not in said
    settings = read(tmp_path, ALICE.replace('"secret"', '"s3cr3t"') + 'sip_password = "alicepw"\n')
    assert "s3cr3t" not in repr(settings) and "alicepw" not in repr(settings)
    printed = to_toml(settings)
    assert "alicepw" not in printed
    assert tomllib.loads(printed)["applications"] == [
        {
            "id": "app_alice",
            "password": "********",
            "uri": "sip:alice@example.com",
            "sip_password": "********",
            "sip_username": "",
            "sip_realm": "",
            "acts_for": [],
            "webhooks": False,
            "auth_tokens": [],
        }
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        "alice",
        "tel:+1*",
        "sip:example.com",
        "sip:*@*",
        "sip:*@*.example.com",
        "sip:a@b;x=y",
        "sips:*@a",
    ],
)
def test_a_pattern_names_users_of_one_host(tmp_path: Path, pattern: str) -> None:
    (fault,) = faults(tmp_path, ALICE + f'acts_for = ["{pattern}"]\n')
    assert fault.startswith("applications[0].acts_for[0]: ")


def test_an_unmasked_print_reads_back_the_same(tmp_path: Path) -> None:
    settings = read(tmp_path, ALICE + "[http]\nport = 0\n[store]\nurl = 'memory://'\n")
    assert read(tmp_path, to_toml(settings, masked=False)) == settings


def test_secrets_come_from_files_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("from file\n")
    text = ALICE.replace('password = "secret"', 'password_file = "pw"')
    settings = read(tmp_path, text + 'sip_password_file = "pw"\n')
    alice = settings.applications[0]
    assert (password(alice), sip_password(alice)) == ("from file", "from file")
    (tmp_path / "pw").write_text("\n")
    assert faults(tmp_path, text) == [
        f"applications[0].password_file: {tmp_path / 'pw'}: the first line is empty"
    ]


def test_an_agent_off_loopback_wants_digest_or_says_anonymous(tmp_path: Path) -> None:
    listen = "[sip]\nlisten = ['udp:192.0.2.1:5060']\n"
    assert faults(tmp_path, listen)[0].startswith(
        "agent.authenticate: the agent on udp:192.0.2.1:5060"
    )
    assert read(tmp_path, listen + "[agent]\nauthenticate = true").agent.authenticate
    assert read(tmp_path, listen + "[agent]\nanonymous = true").agent.anonymous
    remote = "[presence_server]\nmode = 'remote'\nnext_hop = 'sip:192.0.2.2'\n"
    assert not read(tmp_path, listen + remote).embedded


def test_wildcard_listeners_are_advertised_in_order(tmp_path: Path) -> None:
    head = "agent.anonymous = true\n[sip]\nlisten = ['udp:0.0.0.0:5060', 'tcp:[::]:0', 'udp:0.0.0.0:62']\n"
    told = "['udp:203.0.113.5:15060', 'udp:203.0.113.5:0', 'tcp:[2001:db8::1]:0']"
    sip = read(tmp_path, f"{head}advertise = {told}\n").sip
    assert [(str(listener), str(said)) for listener, said in sip.advertised] == [
        ("udp:0.0.0.0:5060", "udp:203.0.113.5:15060"),
        ("tcp:[::]:0", "tcp:[2001:db8::1]:0"),
        ("udp:0.0.0.0:62", "udp:203.0.113.5:0"),
    ]
    found = faults(tmp_path, f"{head}advertise = ['udp:203.0.113.5:0', 'tcp:203.0.113.5:0']\n")
    assert [fault.split(" ")[-1] for fault in found] == ["udp:0.0.0.0:62"]


def test_a_value_that_is_wrong_is_not_called_missing_too(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, "[presence_server]\nmode = 'remote'\nnext_hop = '192.0.2.7'\n")
    assert found.startswith("presence_server.next_hop[0]: ")
    assert "like sip:192.0.2.7:5060;transport=tcp" in found


def test_own_mapping_tables_are_checked(tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text("multi = true\n")
    settings = read(tmp_path, "mapping.file = 'mapping.toml'\n")
    assert read_tables(settings.mapping.file).multi
    assert not read_tables(None).multi
    (tmp_path / "mapping.toml").write_text("mutli = true\n")
    (found,) = faults(tmp_path, "mapping.file = 'mapping.toml'\n")
    assert found.startswith(f"mapping.file: {tmp_path / 'mapping.toml'}: mutli: unknown")
    absent = f"mapping.file: {tmp_path / 'absent'}: No such file or directory"
    assert faults(tmp_path, "mapping.file = 'absent'\n") == [absent]


def test_plain_http_on_an_open_address_must_be_meant(tmp_path: Path) -> None:
    assert read(tmp_path, "[http]\nhost = '0.0.0.0'\nallow_plain = true").http.allow_plain
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).write_text("x")
    http = read(tmp_path, "[http]\nhost = '::'\ntls_cert = 'c.pem'\ntls_key = 'k.pem'").http
    assert http.tls and http.tls_cert == tmp_path / "c.pem"


def test_the_users_file_is_read_whole_and_never_quoted(tmp_path: Path) -> None:
    path = tmp_path / "users"
    ha1 = "0123456789abcdef" * 2
    path.write_text(f"# agents\n\nalice:example.com:md5:{ha1.upper()}\n")
    assert read_users(path) == {("alice", "example.com", "MD5"): ha1}
    path.write_text(f"alice:example.com:MD5:{ha1}\nbob:example.com:SHA-256:{ha1}\n")
    assert faults(tmp_path, "[agent]\nusers_file = 'users'\n") == [
        f"agent.users_file: {path}, line 2: is not user:realm:MD5|SHA-256|SHA-512-256:HA1"
    ]


@pytest.mark.parametrize(
    "content", [b"[http", b"\xff\xfe", b"[http]\nport = 1\n[http]\nport = 2\n"]
)
def test_a_file_that_is_no_toml_is_one_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationErrors) as caught:
        load(path, environ={})
    assert caught.value.key == str(path)


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationErrors, match=r"absent\.toml: No such file"):
        load(tmp_path / "absent.toml", environ={})


def test_settings_are_frozen() -> None:
    settings = load(environ={})
    with pytest.raises(ValueError, match="frozen"):
        settings.http.port = 1


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('route = ["edge.example.com"]', "route"),
        ('route = ["sip:edge.example.com"]', "route"),
        ('identity = "trust-me"', "identity"),
        ('headers = {Via = "x"}', "headers"),
        ('headers = {"O" = "x"}', "headers"),
        ('headers = {"X Y" = "x"}', "headers"),
        ('headers = {X = "a\\nVia: b"}', "headers"),
    ],
)
def test_what_no_network_understands_is_refused(tmp_path: Path, line: str, key: str) -> None:
    (fault,) = faults(tmp_path, f"[presence_server]\n{line}\n")
    assert fault.startswith(f"presence_server.{key}")
