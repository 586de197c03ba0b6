"""The programs of the demonstration: Synapse, InspIRCd and the bridge, each a child on loopback that ends with us."""

import base64
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

# A name that is reserved for this machine: it can't be confused with anybody's real server.
SERVER_NAME = "demo.localhost"
START_SECONDS = 60
# The bridge itself waits 20 s for its last deliveries.
STOP_SECONDS = 30

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """The demonstration can't go on; the text says why."""


# What keeps our ports ours until something listens there.
CLAIMS = []


def free_port(preferred):
    """The preferred port if nothing listens there and no other demonstration is about to, else any such one."""
    for port in (preferred, *[0] * 20):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                port = probe.getsockname()[1]
                # A name without a file: the kernel takes it back when we end, however that is.
                claim = socket.socket(socket.AF_UNIX)
                claim.bind(f"\0footbridge demo {port}")
            except OSError:
                continue
        CLAIMS.append(claim)
        return port
    raise Failed("no port of 127.0.0.1 is free")


def http_status(url):
    """The status and the text of what is at the address; (0, why) if nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


class Child:
    """A running program with its log."""

    def __init__(self, name, command, log, user=None, orphaned=signal.SIGKILL):
        self.name, self.log = name, log
        # A group of its own, so that a Ctrl-C at the terminal reaches only us: we stop things in good order. Should we
        # be killed without a chance to do that, the kernel sends `orphaned`.
        as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                command, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0,
                preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, orphaned), **as_user,
            )

    def check(self):
        """Complains if it has ended."""
        status = self.process.poll()
        if status is not None:
            raise Failed(f"{self.name} ended by itself (exit status {status})")

    def wait_until(self, ready):
        """Waits until `ready` returns None; meanwhile it returns what is missing."""
        deadline = time.monotonic() + START_SECONDS
        while missing := ready():
            self.check()
            if time.monotonic() > deadline:
                raise Failed(f"{self.name} was not ready after {START_SECONDS} s: {missing}")
            time.sleep(0.05)

    def stop(self):
        """Asks it to end, and makes it end if it doesn't. Returns its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def last_lines(self):
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-15:]


class Servers:
    """Everything that runs, in one folder."""

    def __init__(self, root, folder, footbridge):
        self.root, self.folder, self.footbridge = root, folder, footbridge
        self.irc_folder = self.folder
        self.children = []
        self.registration_secret = secrets.token_urlsafe()
        # What these programs usually have, so that clients find them by themselves, if nothing else is there.
        self.synapse_port, self.irc_port, self.bridge_port = free_port(8008), free_port(6667), free_port(9995)
        self.homeserver = f"http://127.0.0.1:{self.synapse_port}"
        self.health = f"http://127.0.0.1:{self.bridge_port}/health"
        self.config = self.folder / "config.toml"
        self.registration = self.folder / "registration.yaml"

    def prepare(self):
        """An empty folder with all configuration."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "log.yaml").write_text(SYNAPSE_LOG)
        key = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        (self.folder / "signing.key").write_text(f"ed25519 a_demo {key}\n")
        (self.folder / "homeserver.yaml").write_text(self.homeserver_yaml())
        self.config.write_text(self.config_toml())

    def start_synapse(self):
        python = self.root / "build/synapse/bin/python"
        command = [python, "-m", "synapse.app.homeserver", "-c", "homeserver.yaml"]
        synapse = self._start("Synapse", command, self.folder / "synapse.log")
        synapse.wait_until(lambda: self._not_ok(f"{self.homeserver}/health"))

    def start_inspircd(self):
        # It refuses to run as root, so it runs as its package's user then, who has to get into its folder.
        user = "irc" if os.geteuid() == 0 else None
        if user:
            self.irc_folder = self._folder_for(user)
        config = self.irc_folder / "inspircd.conf"
        config.write_text(self.inspircd_conf())
        command = ["/usr/sbin/inspircd", "--nofork", f"--config={config}"]
        inspircd = self._start("InspIRCd", command, self.irc_folder / "inspircd.log", user=user)

        def not_listening():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.irc_port))

        inspircd.wait_until(not_listening)

    def start_bridge(self):
        command = [self.footbridge, "run", "--config", self.config]
        self.bridge = self._start("footbridge", command, self.folder / "footbridge.log", orphaned=signal.SIGTERM)
        self.bridge.wait_until(lambda: self._not_ok(self.health))

    def footbridge_command(self, *arguments):
        """Runs a command of the bridge that ends by itself; returns what it said."""
        command = [self.footbridge, arguments[0], "--config", self.config, *arguments[1:]]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                timeout=START_SECONDS, process_group=0,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failed(f"could not run footbridge: {error}") from None
        said = done.stdout.strip().splitlines()
        if done.returncode:
            raise Failed("\n  ".join([f"footbridge {arguments[0]} failed:", *said]))
        return said

    def check(self):
        for child in self.children:
            child.check()

    def stop(self):
        """Stops what still runs, the last started first: the bridge says goodbye while the servers are there."""
        for child in reversed(self.children):
            child.stop()
        self._remove_irc_folder()

    def kill(self):
        for child in self.children:
            child.kill()
        self._remove_irc_folder()

    def _start(self, *arguments, **options):
        child = Child(*arguments, **options)
        self.children.append(child)
        return child

    def _folder_for(self, user):
        parts = [self.folder, *self.folder.parents]
        if all(part.stat().st_mode & 0o001 for part in parts):
            folder = self.folder / "inspircd"
            folder.mkdir()
        else:
            # Somewhere under root's home, for example.
            folder = Path(tempfile.mkdtemp(prefix="footbridge-demo-"))
        shutil.chown(folder, user, user)
        return folder

    def _remove_irc_folder(self):
        if not self.irc_folder.is_relative_to(self.folder):
            shutil.rmtree(self.irc_folder, ignore_errors=True)

    @staticmethod
    def _not_ok(url):
        status, text = http_status(url)
        return None if status == 200 else f"{url} says {status or 'nothing'}: {text}"

    def config_toml(self):
        return f"""\
# Written by `make demo`; config.example.toml explains every key.
[homeserver]
url = "{self.homeserver}"
server_name = "{SERVER_NAME}"

[appservice]
registration = "registration.yaml"
bind = "127.0.0.1:{self.bridge_port}"
url = "http://127.0.0.1:{self.bridge_port}"
bot_localpart = "footbridge"

[database]
url = "sqlite://footbridge.db"

[network.demo]
name = "Demo"
servers = ["127.0.0.1:{self.irc_port}"]
tls = false

[network.demo.bot]
nick = "footbridge"

[network.demo.portals]
join_by_alias = true

# Our own network bears anything.
[network.demo.limits]
connects_per_minute = 0
line_burst = 0
lines_per_second = 0

[[network.demo.plumb]]
channel = "#footbridge"
room = "#footbridge:{SERVER_NAME}"
"""

    def homeserver_yaml(self):
        # JSON is YAML, too.
        high = {"per_second": 1000, "burst_count": 1000}
        listener = {
            "port": self.synapse_port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": False,
            "resources": [{"names": ["client"], "compress": False}],
        }
        return json.dumps(indent=2, obj={
            "server_name": SERVER_NAME,
            "public_baseurl": f"{self.homeserver}/",
            "listeners": [listener],
            "database": {"name": "sqlite3", "args": {"database": str(self.folder / "synapse.db")}},
            "app_service_config_files": [str(self.registration)],
            "log_config": str(self.folder / "log.yaml"),
            "media_store_path": str(self.folder / "media"),
            "signing_key_path": str(self.folder / "signing.key"),
            "pid_file": str(self.folder / "synapse.pid"),
            "registration_shared_secret": self.registration_secret,
            "macaroon_secret_key": secrets.token_urlsafe(),
            "form_secret": secrets.token_urlsafe(),
            "report_stats": False,
            # Nothing leaves this machine.
            "federation_domain_whitelist": [],
            "trusted_key_servers": [],
            "url_preview_enabled": False,
            "bcrypt_rounds": 4,
            "alias_creation_rules": [{"action": "allow"}],
            "room_list_publication_rules": [{"action": "allow"}],
            "rc_message": high,
            "rc_registration": high,
            "rc_login": {"address": high, "account": high, "failed_attempts": high},
            "rc_joins": {"local": high, "remote": high},
            "rc_joins_per_room": high,
            "rc_invites": {"per_room": high, "per_user": high, "per_issuer": high},
        })

    def inspircd_conf(self):
        modules = "\n".join(f'<module name="{name}">' for name in INSPIRCD_MODULES)
        return f"""\
<config format="xml">
<server name="irc.{SERVER_NAME}" description="A network to look at Footbridge" network="Demo">
<admin name="you" nick="you" email="you@{SERVER_NAME}">
<path configdir="{self.irc_folder}" datadir="{self.irc_folder}" logdir="{self.irc_folder}"
 runtimedir="{self.irc_folder}" moduledir="/usr/lib/inspircd/modules">
<bind address="127.0.0.1" port="{self.irc_port}" type="clients">
<connect name="demo" allow="*" timeout="60" pingfreq="120" fakelag="no" commandrate="100000" threshold="100000"
 localmax="1000" globalmax="1000" recvq="1048576" softsendq="1048576" hardsendq="4194304"
 useident="no" resolvehostnames="no" maxchans="100" modes="+x">
<performance nouserdns="yes">
<options defaultmodes="not" casemapping="rfc1459">
<channels users="100" opers="100">
<limits maxnick="31" maxchan="60" maxmodes="20" maxident="12" maxquit="255" maxtopic="390" maxkick="255" maxreal="128">
<customprefix name="halfop" letter="h" prefix="%" rank="20000" ranktoset="30000">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{self.irc_folder}/ircd.log">
{modules}
"""


SYNAPSE_LOG = """\
version: 1
formatters: {plain: {format: '%(asctime)s %(levelname)s %(name)s %(message)s'}}
handlers: {out: {class: logging.StreamHandler, formatter: plain}}
root: {level: WARNING, handlers: [out]}
disable_existing_loggers: false
"""

INSPIRCD_MODULES = """
cap chghost customprefix ircv3 ircv3_accounttag ircv3_batch ircv3_capnotify ircv3_chghost ircv3_ctctags
ircv3_echomessage ircv3_invitenotify ircv3_labeledresponse ircv3_msgid ircv3_servertime monitor muteban namesx
services_account setname uhnames
""".split()
