"""Shows the bridge working between a real Synapse and a real InspIRCd, all of it on this machine.

`make demo` installs and builds what is needed (scripts/demo.sh), then this starts everything the way an operator does,
lets people talk, and checks that each line arrived: whatever is printed was seen by a client. It stays until Ctrl-C;
with ONCE=1 it ends after the conversation, and its exit status says whether all went well.

Arguments: the bridge's program, and the folder for everybody's files, which is emptied (build/demo if there is none).
"""

import fcntl
import os
import re
import signal
import sys
import time
from pathlib import Path

from people import IrcUser, MatrixUser, ghost
from screen import COLUMN, heading, lines, paragraph, row, say, setup, step
from servers import SERVER_NAME, Failed, Servers

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "demo"


class Stopped(BaseException):
    """Somebody wants us to end."""


def on_signal(number, _frame):
    raise Stopped(number)


def start(servers):
    """Starts everything, by the steps of the README. Returns Alice and Dora."""
    step("Starting Synapse, InspIRCd and the bridge (seconds)")
    servers.prepare()
    begin = time.monotonic()
    footbridge(servers, "registration", "--output", servers.registration)
    servers.start_synapse()
    say(f"\n  Synapse, with that line in its configuration, is up: {servers.homeserver}")
    servers.start_inspircd()
    say(f"  InspIRCd is up: 127.0.0.1:{servers.irc_port}")
    footbridge(servers, "check")

    alice = MatrixUser("Alice", PASSWORD, servers.homeserver, servers.registration_secret, servers.check)
    # The configuration plumbs this room to #footbridge.
    alice.room = alice.create_room(preset="public_chat", name="Footbridge", room_alias_name="footbridge")
    dora = IrcUser("dora", servers.irc_port, servers.check)
    dora.join("#footbridge")
    say(f"\n  $ footbridge run --config {short(servers.config)}")
    servers.start_bridge()
    say(f"    It is up: {servers.health} answers 200.")
    say(f"\n  All that took {time.monotonic() - begin:.1f} s.")
    return alice, dora


def footbridge(servers, command, *arguments):
    """Runs one of the bridge's commands in front of everybody."""
    say("\n  $ " + " ".join(map(short, ("footbridge", command, "--config", servers.config, *arguments))))
    lines(f"  {line}" for line in servers.footbridge_command(command, *arguments))


def short(path):
    """A path as it is typed in the project's folder."""
    return str(path).removeprefix(f"{ROOT}/")


def converse(servers, alice, dora):
    """All the talking. Whatever doesn't arrive ends it."""
    step("A conversation, as each side sees it")
    say()
    paragraph(
        "Alice is on Matrix; on IRC she is Alice[m]. Dora and Erik are on IRC; on Matrix they are "
        f"{ghost('dora')} and {ghost('erik')}."
    )
    in_a_plumbed_room(alice, dora)
    in_a_room_by_alias(alice, dora)
    in_private_from_matrix(alice, dora)
    in_private_from_irc(servers, alice)
    say("\n  Every line arrived where it belongs.")


def in_a_plumbed_room(alice, dora):
    heading(
        f"A room and a channel that the configuration plumbs: #footbridge:{SERVER_NAME}",
        "Dora in #footbridge", "Alice in the room",
    )
    talk = Talk(alice, alice.room, dora, "#footbridge")
    row(
        dora.expect("#footbridge", r"\* footbridge has joined #footbridge"),
        alice.expect(alice.room, r"\* footbridge joined the room"),
    )
    row([], alice.expect(alice.room, r"\* dora joined the room"))
    talk.alice_says("Hello IRC, this is Alice on Matrix!", arrives=True)
    talk.dora_says("Hi Alice! To us you look like anybody else here.")
    talk.alice_says("A message of two lines\nbecomes two lines.")
    talk.dora_does("waves: ¡olé! 🌉")


def in_a_room_by_alias(alice, dora):
    alias = f"#irc_demo_#lounge:{SERVER_NAME}"
    heading(f"A room that comes to be when Alice joins it: {alias}", "Dora in #lounge", "Alice in the room")
    dora.join("#lounge")
    room = alice.join_alias(alias)
    talk = Talk(alice, room, dora, "#lounge")
    row(dora.expect("#lounge", r"\* Alice\[m\] has joined #lounge"), alice.expect(room, r"\* Alice joined the room"))
    row([], alice.expect(room, r"\* dora joined the room"))
    talk.dora_says("Nobody had to configure this channel.")
    talk.alice_says("I only joined its alias.")


def in_private_from_matrix(alice, dora):
    heading(f"In private: Alice invites {ghost('dora')} to a new room", "Dora and Alice[m]", "Alice and dora")
    room = alice.create_room(preset="trusted_private_chat", is_direct=True, invite=[ghost("dora")])
    row([], alice.expect(room, r"\* dora joined the room"))
    talk = Talk(alice, room, dora, "Alice[m]")
    talk.alice_says("Only you see this, Dora.")
    talk.dora_says("And only you see this.")


def in_private_from_irc(servers, alice):
    heading("In private: Erik types /msg Alice[m]", "Erik and Alice[m]", "Alice and erik")
    erik = IrcUser("erik", servers.irc_port, servers.check)
    words = "Hello Alice, we haven't met."
    erik.say("Alice[m]", words)
    there = erik.expect("Alice[m]", f"<erik> {re.escape(words)}")
    room = alice.accept("erik")
    row([], ["* erik invites Alice to a new room", *alice.expect(room, r"\* Alice joined the room")])
    row(there, alice.expect(room, f"erik: {re.escape(words)}"))
    talk = Talk(alice, room, erik, "Alice[m]")
    talk.alice_says("Nice to meet you, Erik!")


class Talk:
    """Alice and somebody on IRC; each line is shown as soon as both have seen it."""

    def __init__(self, alice, room, other, place):
        self.alice, self.room, self.other, self.place = alice, room, other, place
        alice.called[room] = place if place.startswith("#") else other.name

    def alice_says(self, text, arrives=False):
        self.alice.say(self.room, text)
        here = self.alice.expect(self.room, f"Alice: {re.escape(text)}")
        if arrives:
            # Her connection to IRC is made when she first speaks.
            row(self.other.expect(self.place, rf"\* Alice\[m\] has joined {self.place}"), [])
        row(self.other.expect(self.place, *(rf"<Alice\[m\]> {re.escape(line)}" for line in text.split("\n"))), here)

    def dora_says(self, text):
        self.other.say(self.place, text)
        self._both_see(f"<{self.other.name}> {re.escape(text)}", f"{self.other.name}: {re.escape(text)}")

    def dora_does(self, text):
        self.other.emote(self.place, text)
        seen = rf"\* {self.other.name} {re.escape(text)}"
        self._both_see(seen, seen)

    def _both_see(self, on_irc, on_matrix):
        row(self.other.expect(self.place, on_irc), self.alice.expect(self.room, on_matrix))


def explain(servers):
    """How to look around with one's own clients."""
    folder, irc = short(servers.folder), servers.irc_folder
    step("Look around: all of it stays up until you press Ctrl-C")
    lines(f"""
With Element or another Matrix client
    Homeserver   {servers.homeserver}
    User         alice
    Password     {PASSWORD}
    Rooms        the ones above; join #irc_demo_#anything:{SERVER_NAME} to get to #anything
    People       invite @irc_demo_NICK:{SERVER_NAME} to a new room (not an encrypted one:
                 the bridge can't read those)

With an IRC client
    Server       127.0.0.1, port {servers.irc_port}, without TLS
    Channels     #footbridge and #lounge
    People       /msg Alice[m] hello

From another machine
    ssh -L {servers.synapse_port}:127.0.0.1:{servers.synapse_port} -L {servers.irc_port}:127.0.0.1:{servers.irc_port} this-machine

The bridge
    Configuration   {short(servers.config)}
    Logs            {folder}/footbridge.log, {folder}/synapse.log,
                    {short(irc)}/inspircd.log
    Health          curl {servers.health}
    The next `make demo` begins with an empty {folder}.
""".rstrip().split("\n"))


def stay(servers, alice, dora):
    """Until Ctrl-C; shows what is said meanwhile."""
    say("\n  Whatever Alice and Dora see from now on is shown here:\n")
    row(["Dora on IRC"], ["Alice on Matrix"])
    alice.watch = lambda seen: row([], [f"{alice.called.get(seen.place, '')} {seen.line}".strip()])
    dora.watch = lambda seen: row([f"{seen.place} {seen.line}".strip()], [])
    try:
        while True:
            servers.check()
            time.sleep(0.5)
    except Stopped:
        say()
    finally:
        alice.watch = dora.watch = None


def say_goodbye(servers, dora):
    """Stops everything; the bridge's people leave IRC in good order."""
    step("Stopping")
    status = servers.bridge.stop()
    if status != 0:
        raise Failed(f"footbridge did not stop cleanly (exit status {status})")
    lines(["The bridge was asked to stop (SIGTERM). What Dora saw then:"])
    for nick in (r"Alice\[m\]", "footbridge"):
        lines(f"  {line}" for line in dora.expect("", rf"\* {nick} has quit \(.*\)"))
    servers.stop()
    lines(["Everything has ended."])


def show_logs(servers):
    for child in servers.children:
        say(f"\n  The end of {child.name}'s log ({short(child.log)}):")
        lines(f"  {line}" for line in child.last_lines())


def run(servers, once):
    """The whole demonstration; returns the exit status."""
    try:
        alice, dora = start(servers)
        converse(servers, alice, dora)
        if not once:
            explain(servers)
            stay(servers, alice, dora)
        say_goodbye(servers, dora)
        return 0
    except Failed as failure:
        say(f"\n  FAILED: {failure}")
        show_logs(servers)
        return 1


def main():
    setup()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    program, folder = (Path(path).resolve() for path in [*sys.argv[1:], ROOT / "build/demo"][:2])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("demo: another `make demo` is running in this folder; stop it with Ctrl-C first")
            return 1
        servers = Servers(ROOT, folder, program)
        try:
            return run(servers, once=os.environ.get("ONCE", "0") not in ("", "0"))
        except Stopped as stopped:
            say("\n  Stopped.")
            return 128 + stopped.args[0]
        finally:
            try:
                servers.stop()
            except Stopped:
                # Somebody is in a hurry.
                servers.kill()


if __name__ == "__main__":
    sys.exit(main())
