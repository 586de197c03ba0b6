"""The people of the demonstration: clients that remember, as lines of text, what their server showed them."""

import hashlib
import hmac
import itertools
import json
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import NamedTuple

from servers import SERVER_NAME, Failed

# Everything takes milliseconds here; this is for machines that are busy with something else.
SECONDS = 30


class Seen(NamedTuple):
    """A line that a client saw."""

    # The channel, room id or other person where it was said; empty for what isn't said anywhere.
    place: str
    # As a client shows it.
    line: str


class Person:
    """Somebody with a client. What it has seen is waited for, never slept for."""

    def __init__(self, name, check):
        self.name, self._check = name, check
        # What was seen, and of that what was not expected yet.
        self._seen, self._pending = [], []
        self._news = threading.Condition()
        self._problem = None
        # Called with each new line, once set.
        self.watch = None

    def start(self):
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        try:
            self.listen()
        except (OSError, ValueError, Failed) as error:
            with self._news:
                self._problem = f"{self.name}'s connection ended: {error}"
                self._news.notify_all()

    def see(self, place, line):
        seen = Seen(place, line)
        with self._news:
            self._seen.append(seen)
            self._pending.append(seen)
            self._news.notify_all()
        if watch := self.watch:
            watch(seen)

    def expect(self, place, *lines):
        """Waits until these lines (regular expressions) were seen there, in this order. Returns them as they were seen.

        Each line that was seen is found only once, so saying the same twice means that it has to come twice.
        """
        deadline = time.monotonic() + SECONDS
        found, begin = [], 0
        with self._news:
            for line in lines:
                while (index := self._find(place, line, begin)) is None:
                    self._check()
                    if self._problem or time.monotonic() > deadline:
                        raise Failed(self._missing(place, line))
                    self._news.wait(0.2)
                found.append(self._pending.pop(index).line)
                begin = index
        return found

    def _find(self, place, line, begin):
        for index, seen in enumerate(self._pending[begin:], begin):
            if seen.place == place and re.fullmatch(line, seen.line):
                return index
        return None

    def _missing(self, place, line):
        why = self._problem or f"{self.name} did not see it within {SECONDS} s"
        last = [f"    {seen.place} {seen.line}" for seen in self._seen[-10:]] or ["    nothing"]
        return "\n".join([
            f"This should have come to {self.name}{place and f' in {place}'}: {line}", f"  {why}; {self.name} saw last:", *last,
        ])


class IrcUser(Person):
    """Somebody with a raw connection to the IRC server."""

    def __init__(self, nick, port, check):
        super().__init__(nick, check)
        self._socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        # With echo-message the server shows us our own lines, too: even those below are what was really seen.
        self._send("CAP REQ :echo-message", "CAP END", f"NICK {nick}", f"USER {nick} 0 * :{nick} on IRC")
        self._socket.settimeout(None)
        self.start()
        self.expect("", "001")

    def _send(self, *lines):
        self._socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def join(self, channel):
        self._send(f"JOIN {channel}")
        self.expect(channel, re.escape(f"* {self.name} has joined {channel}"))

    def say(self, target, text):
        self._send(f"PRIVMSG {target} :{text}")

    def emote(self, target, text):
        self.say(target, f"\x01ACTION {text}\x01")

    def listen(self):
        with self._socket.makefile("rb") as lines:
            for line in lines:
                self._line(line.decode(errors="replace").rstrip("\r\n"))
        raise Failed("the server closed it")

    def _line(self, line):
        line, _, text = line.partition(" :")
        words = line.split()
        who = words.pop(0)[1:].partition("!")[0] if words[0].startswith(":") else ""
        command, *parameters = words
        target = parameters[0] if parameters else text
        # A private talk is named after the other one.
        place = target if target.startswith("#") else (target if who == self.name else who)
        match command:
            case "PING":
                self._send(f"PONG :{text or target}")
            case "001":
                self.see("", "001")
            case "PRIVMSG" if text.startswith("\x01ACTION "):
                self.see(place, f"* {who} {text[8:].rstrip(chr(1))}")
            case "PRIVMSG":
                self.see(place, f"<{who}> {text}")
            case "NOTICE" if who and "." not in who:
                self.see(place, f"-{who}- {text}")
            case "JOIN":
                self.see(target, f"* {who} has joined {target}")
            case "PART":
                self.see(target, f"* {who} has left {target}")
            case "KICK":
                self.see(target, f"* {who} has kicked {parameters[1]} ({text})")
            case "TOPIC":
                self.see(target, f"* {who} has changed the topic to: {text}")
            case "NICK":
                self.see("", f"* {who} is now known as {text or target}")
            case "QUIT":
                self.see("", f"* {who} has quit ({text})")
            case "ERROR":
                raise Failed(text)


class MatrixUser(Person):
    """Somebody with a Matrix client: sees what /sync shows."""

    def __init__(self, name, password, homeserver, secret, check):
        super().__init__(name, check)
        self._homeserver, self._token = homeserver, None
        self._txn = itertools.count()
        self._names = {}
        # What rooms are called when they are shown beside others.
        self.called = {}
        localpart = name.lower()
        nonce = self._request("GET", "/_synapse/admin/v1/register")["nonce"]
        mac = hmac.new(secret.encode(), "\0".join([nonce, localpart, password, "notadmin"]).encode(), hashlib.sha1)
        account = self._request("POST", "/_synapse/admin/v1/register", {
            "nonce": nonce, "username": localpart, "displayname": name, "password": password, "mac": mac.hexdigest(),
        })
        self.id, self._token = account["user_id"], account["access_token"]
        self.start()

    def _request(self, method, path, body=None):
        request = urllib.request.Request(
            self._homeserver + path, json.dumps(body).encode() if body is not None else None,
            {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._token}"} if self._token else {}),
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise Failed(f"the homeserver refused {method} {path}: {error.code} {said}") from None

    def create_room(self, **options):
        return self._request("POST", "/_matrix/client/v3/createRoom", options)["room_id"]

    def join(self, room):
        return self._request("POST", f"/_matrix/client/v3/join/{urllib.parse.quote(room, safe='')}", {})["room_id"]

    def join_alias(self, alias):
        """The bridge answers within a second whether there is such a room. On a busy machine it may take longer to make
        it; then Alice does as everybody does, and tries again."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                return self.join(alias)
            except Failed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def say(self, room, text):
        path = f"/_matrix/client/v3/rooms/{urllib.parse.quote(room)}/send/m.room.message/demo{next(self._txn)}"
        self._request("PUT", path, {"msgtype": "m.text", "body": text})

    def accept(self, inviter):
        """Waits for an invitation, and follows it."""
        [line] = self.expect("", rf"\* {re.escape(inviter)} invites {re.escape(self.name)} to \S+")
        return self.join(line.rpartition(" ")[2])

    def listen(self):
        # More than comes at a time: what is cut off would be missed.
        wanted, since = urllib.parse.quote(json.dumps({"room": {"timeline": {"limit": 100}}})), ""
        while True:
            answer = self._request("GET", f"/_matrix/client/v3/sync?timeout=30000&filter={wanted}{since}")
            since = f"&since={urllib.parse.quote(answer['next_batch'])}"
            rooms = answer.get("rooms", {})
            for room, news in rooms.get("invite", {}).items():
                events = [event for event in news["invite_state"]["events"] if event["type"] == "m.room.member"]
                for event in events:
                    self._named(event)
                for event in events:
                    if event["state_key"] == self.id and event["content"]["membership"] == "invite":
                        inviter = self._names.get(event["sender"], event["sender"])
                        self.see("", f"* {inviter} invites {self.name} to {room}")
            for room, news in rooms.get("join", {}).items():
                for event in news["state"]["events"]:
                    if event["type"] == "m.room.member":
                        self._named(event)
                for event in news["timeline"]["events"]:
                    self._event(room, event)

    def _named(self, event):
        who, content = event["state_key"], event["content"]
        if content["membership"] != "leave":
            self._names[who] = content.get("displayname") or who
        return self._names.get(who, who)

    def _event(self, room, event):
        kind, content, sender = event["type"], event["content"], event["sender"]
        before = event.get("unsigned", {}).get("prev_content", {})
        if kind == "m.room.member":
            name, now, was = self._named(event), content["membership"], before.get("membership")
            if now == "join" and was != "join":
                self.see(room, f"* {name} joined the room")
            elif now in ("leave", "ban") and was == "join":
                self.see(room, f"* {name} left the room ({content.get('reason', 'no reason')})")
        elif kind == "m.room.message":
            name, text = self._names.get(sender, sender), content.get("body", "")
            self.see(room, f"* {name} {text}" if content.get("msgtype") == "m.emote" else f"{name}: {text}")
        elif kind == "m.room.topic" and before:
            self.see(room, f"* {self._names.get(sender, sender)} changed the topic to: {content.get('topic')}")


def ghost(nick):
    """The Matrix user that stands for an IRC user."""
    return f"@irc_demo_{nick}:{SERVER_NAME}"
