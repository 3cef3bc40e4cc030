#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds conversations with a daemon: run.py JOBCORED [CONVERSATION.json...]

Each conversation has a daemon and an empty folder of its own. It is an object:

  title   what holds
  files   {NAME: SIZE in bytes}: images to begin with; their bytes are a pattern
  steps   one after the other; a step is one of
    {"send": COMMAND, "arguments": {...}}   and optionally
        "return": PATTERN           of the answer; without it, anything but an error
        "error": TEXT               is part of the error's text
        "class": NAME               of the error, GenericError if not said
        "save": {NAME: [PATH...]}   a part of what is returned; "$NAME" stands for it from then on
        "until": true               asked again and again until the answer fits
    {"raw": TEXT, "replies": [PATTERN...]}  sent as it is; the answers in order
    {"event": NAME, "data": PATTERN}        the next such event of this client; those before it are passed over
    {"status": [JOB, STATUS...]}            all of the job's changes of status since the last such step of this client
    {"silent": NAME}                        no such event has come to this client
    {"close": true}                         ends the connection
    {"same": [FILE, FILE]}, {"differ": [FILE, FILE]}
  each with "client": NAME, if it is not the first: it connects and negotiates when it is named first
  exit    the daemon's exit code after `quit`, 0 if not said

Patterns: objects by the members that they name, lists element by element, {"$least": N}, {"$part": TEXT}, {"$any": 0}.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE = 60.0  # seconds, for anything


class Mismatch(Exception):
    pass


def fits(pattern, value):
    if isinstance(pattern, dict):
        if "$least" in pattern:
            return isinstance(value, (int, float)) and value >= pattern["$least"]
        if "$part" in pattern:
            return isinstance(value, str) and pattern["$part"] in value
        if "$any" in pattern:
            return True
        return isinstance(value, dict) and all(k in value and fits(p, value[k]) for k, p in pattern.items())
    if isinstance(pattern, list):
        return isinstance(value, list) and len(value) == len(pattern) and all(map(fits, pattern, value))
    return type(pattern) is type(value) and pattern == value


class Client:
    def __init__(self, path, negotiate=True):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r", encoding="utf-8", newline="\n")
        self.events = []
        self.looked = 0  # at so many of them
        self.told = {}  # by job: at so many of its changes of status
        if "QMP" not in self.read():
            raise Mismatch("no greeting")
        if negotiate:
            self.call("qmp_capabilities", {})

    def read(self):
        line = self.lines.readline()
        if not line:
            raise Mismatch("the daemon has hung up")
        return json.loads(line)

    def reply(self):
        while True:
            message = self.read()
            if "event" not in message:
                return message
            self.events.append(message)

    def call(self, command, arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        return self.reply()

    def event(self, name, pattern):
        while True:
            while self.looked < len(self.events):
                event = self.events[self.looked]
                self.looked += 1
                if event["event"] == name and fits(pattern, event.get("data", {})):
                    return
            self.events.append(self.read())

    def statuses(self, job):
        return [e["data"]["status"] for e in self.events
                if e["event"] == "JOB_STATUS_CHANGE" and e["data"]["id"] == job]

    def close(self):
        self.lines.close()
        self.socket.close()


class Conversation:
    def __init__(self, program, script, folder):
        self.script, self.folder = script, folder
        self.saved, self.clients = {}, {}
        for name, size in script.get("files", {}).items():
            pattern = bytes((i * 7 + i // 512) % 256 for i in range(65536))
            (folder / name).write_bytes((pattern * (size // 65536 + 1))[:size])
        self.path = str(folder / "monitor.sock")
        self.server = subprocess.Popen([program, "--qmp", "unix:" + self.path], cwd=folder)
        end = time.monotonic() + PATIENCE
        while not os.path.exists(self.path) and self.server.poll() is None and time.monotonic() < end:
            time.sleep(0.005)

    def filled_in(self, value):
        if isinstance(value, dict):
            return {k: self.filled_in(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.filled_in(v) for v in value]
        if isinstance(value, str) and value.startswith("$"):
            return self.saved.get(value[1:], value)
        return value

    def client(self, step):
        name = step.get("client", "first")
        if name not in self.clients:
            self.clients[name] = Client(self.path, step.get("negotiate", True))
        return self.clients[name]

    def check_answer(self, step, answer):
        if "error" in step:
            error = answer.get("error", {})
            if error.get("class") != step.get("class", "GenericError") or step["error"] not in error["desc"]:
                raise Mismatch(f"answered {answer}")
        elif "return" not in answer or not fits(step.get("return", {"$any": 0}), answer["return"]):
            raise Mismatch(f"answered {answer}")

    def send(self, client, step):
        end = time.monotonic() + PATIENCE
        while True:
            answer = client.call(step["send"], step.get("arguments", {}))
            try:
                self.check_answer(step, answer)
                break
            except Mismatch:
                if not step.get("until") or time.monotonic() > end:
                    raise
                time.sleep(0.005)
        for name, path in step.get("save", {}).items():
            value = answer["return"]
            for part in path:
                value = value[part]
            self.saved[name] = value

    def take(self, step):
        step = self.filled_in(step)
        if "same" in step or "differ" in step:
            a, b = (self.folder / name for name in step.get("same", step.get("differ")))
            if (a.read_bytes() == b.read_bytes()) != ("same" in step):
                raise Mismatch("the files do not fit")
            return
        client = self.client(step)
        if "send" in step:
            self.send(client, step)
        elif "raw" in step:
            client.socket.sendall(step["raw"].encode("latin-1"))
            for pattern in step["replies"]:
                answer = client.reply()
                if not fits(pattern, answer):
                    raise Mismatch(f"answered {answer}, not {pattern}")
        elif "event" in step:
            client.event(step["event"], step.get("data", {}))
        elif "status" in step:
            job, expected = step["status"][0], step["status"][1:]
            since = client.told.get(job, 0)
            while len(client.statuses(job)) < since + len(expected):
                client.events.append(client.read())
            seen = client.statuses(job)[since:]
            client.told[job] = since + len(seen)
            if seen != expected:
                raise Mismatch(f"the job was {seen}")
        elif "silent" in step:
            client.call("query-version", {})
            if any(e["event"] == step["silent"] for e in client.events):
                raise Mismatch("it has come")
        elif "close" in step:
            client.close()
            del self.clients[step.get("client", "first")]
        else:
            raise Mismatch("no such step")

    def hold(self):
        for number, step in enumerate(self.script["steps"]):
            try:
                self.take(step)
            except (Mismatch, OSError) as error:
                raise Mismatch(f"step {number}, {json.dumps(step)}: {error}") from error
        last = self.clients.get("first") or Client(self.path)
        if self.server.poll() is None and "return" not in last.call("quit", {}):
            raise Mismatch("does not quit")
        code = self.server.wait(PATIENCE)
        if code != self.script.get("exit", 0):
            raise Mismatch(f"exit code {code}")
        left = [name for name in os.listdir(self.folder) if "monitor.sock" in name]
        if left:
            raise Mismatch(f"left behind: {left}")

    def end(self):
        for client in self.clients.values():
            client.close()
        if self.server.poll() is None:
            self.server.kill()
            self.server.wait()


def main(program, files):
    program = os.path.abspath(program)
    failed = 0
    for file in files or sorted(pathlib.Path(__file__).parent.glob("*.json")):
        file = pathlib.Path(file)
        folder = pathlib.Path(tempfile.mkdtemp(prefix="jobcore-talk-"))
        conversation = Conversation(program, json.loads(file.read_text()), folder)
        try:
            conversation.hold()
            print("ok  ", file.stem)
        except Mismatch as error:
            failed += 1
            print("FAIL", file.stem, "\n    ", error)
        finally:
            conversation.end()
            shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
