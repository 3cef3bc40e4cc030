#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How quick is an image that is exported by NBD, for those who use it?

`jobctl export` and the export of qemu-storage-daemon, in the same run and in turn, of the same file, over a Unix socket.
The file is in the page cache, nobody waits for the medium (no flushes, on either side), and no dirty page is left (sync)
when a row begins: what is measured is the server. Ours is run on both engines, the other one with aio=threads and
aio=io_uring; without an iothread: version 7.2 aborts when a client goes whose disk is in one. So both serve in one
thread. The clients are other people's programs:

  copy     nbdcopy of the whole image, from it (into nothing) and to it (from a file in the page cache); requests of
           256 KiB, over 1 and over 8 connections
  random   fio's nbd engine, 4 KiB at random places, 1 and 16 at a time over each of 1 and 8 connections: how many per
           second, and their latency
  mirror_  the same while the image is being mirrored, to a file that is in the page cache as well: by jobcored and by
           qemu-storage-daemon, told the same by the same commands. Both mirrors have the same speed as their limit, so
           that they last as long as the clients; mirrored_bytes_per_s says whether a side's mirror keeps it

More rounds can be added to an earlier result (--add), so that no single call is long.

Debian's packages: libnbd-bin, fio, qemu-system-common (qemu-storage-daemon).
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket as socketlib
import statistics
import subprocess
import sys
import tempfile
import time

import copy_bench
from copy_bench import MIB, Failed

CONNECTIONS = (1, 8)
DEPTHS = (1, 16)
# While a mirror runs.
MIRROR_COPIES = (1,)
MIRROR_RANDOM = ((1, 1), (1, 16), (8, 1))


class Server:
    """A program that exports a file until it is told to end."""

    def __init__(self, name, command):
        self.name = name
        self.command = command  # with IMAGE and SOCKET
        self.program = command[0]

    @contextlib.contextmanager
    def serve(self, image, socket):
        command = [word.replace("IMAGE", image).replace("SOCKET", socket) for word in self.command]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as daemon:
            try:
                for _ in range(200):
                    if os.path.exists(socket):
                        break
                    if daemon.poll() is not None:
                        raise Failed(f"{self.name}: {daemon.stderr.read().strip()}")
                    time.sleep(0.02)
                yield f"nbd+unix:///disk?socket={socket}"
            finally:
                daemon.terminate()
                try:
                    daemon.wait(5)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(socket)


class Daemon:
    """A program that exports a file and mirrors it meanwhile, told so by QMP."""

    def __init__(self, name, command, aio):
        self.name = name
        self.command = command  # with QMP
        self.program = command[0]
        self.aio = aio

    @contextlib.contextmanager
    def serve(self, files, socket):
        monitor = f"{socket}.qmp"
        command = [word.replace("QMP", monitor) for word in self.command]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as daemon:
            try:
                qmp = Monitor(self.name, daemon, monitor)
                for name, path in (("disk", files["image"]), ("target", files["target"])):
                    qmp.execute("blockdev-add", **{"driver": "file", "node-name": name, "filename": path,
                                                   "aio": self.aio, "cache": {"direct": False, "no-flush": True}})
                qmp.execute("nbd-server-start", addr={"type": "unix", "data": {"path": socket}})
                qmp.execute("block-export-add", **{"type": "nbd", "id": "e", "node-name": "disk", "name": "disk",
                                                   "writable": True})
                yield f"nbd+unix:///disk?socket={socket}", qmp
            finally:
                daemon.kill()
                for path in (socket, monitor):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)


class Monitor:
    """A client of QMP."""

    def __init__(self, name, daemon, path):
        self.name = name
        for _ in range(200):
            if daemon.poll() is not None:
                raise Failed(f"{name}: {daemon.stderr.read().strip()}")
            with contextlib.suppress(OSError):
                connection = socketlib.socket(socketlib.AF_UNIX)
                connection.connect(path)
                break
            time.sleep(0.02)
        else:
            raise Failed(f"{name}: no monitor")
        connection.settimeout(20)
        self.lines = connection.makefile("rw")
        self._until("QMP")
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        self.lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.lines.flush()
        return self._until("return")["return"]

    def until_event(self, event):
        while self._until("event")["event"] != event:
            pass

    def _until(self, key):
        for line in self.lines:
            message = json.loads(line)
            if "error" in message:
                raise Failed(f"{self.name}: {message['error']['desc']}")
            if key in message:
                return message
        raise Failed(f"{self.name}: ended early")


def during_mirror(qmp, speed, measure):
    """What is measured while a mirror runs, which is to go on until then."""
    qmp.execute("blockdev-mirror", **{"job-id": "mirror", "device": "disk", "target": "target", "sync": "full",
                                      "speed": speed})
    start = time.perf_counter()
    result = measure()
    seconds = time.perf_counter() - start
    job, = qmp.execute("query-block-jobs")
    qmp.execute("block-job-cancel", device="mirror", force=True)
    qmp.until_event("BLOCK_JOB_CANCELLED")
    if job["ready"]:
        raise Failed("the mirror was through before its clients")
    return {**result, "mirrored_bytes_per_s": round(job["offset"] / seconds)}


def all_daemons(jobctl):
    jobcored = os.path.join(os.path.dirname(jobctl), "jobcored")

    def ours(name, aio):
        return Daemon(name, (jobcored, "--qmp", "unix:QMP"), aio)

    def theirs(aio):
        return Daemon(f"qsd_{aio}", ("qemu-storage-daemon", "--chardev", "socket,id=c,path=QMP,server=on,wait=off",
                                     "--monitor", "chardev=c"), aio)

    return [ours("jobcore", "threads"), ours("jobcore_uring", "io_uring"), theirs("threads"), theirs("io_uring")]


def all_servers(jobctl):
    def ours(engine):
        return (jobctl, "export", "IMAGE", "--socket", "SOCKET", "--name", "disk", "--no-sync", "--io-engine", engine)

    def theirs(aio):
        node = {"driver": "file", "node-name": "disk", "filename": "IMAGE", "aio": aio,
                "cache": {"direct": False, "no-flush": True}}
        return ("qemu-storage-daemon", "--blockdev", json.dumps(node),
                "--nbd-server", "addr.type=unix,addr.path=SOCKET",
                "--export", "type=nbd,id=e,node-name=disk,name=disk,writable=on")

    return [Server("jobcore", ours("threads")), Server("jobcore_uring", ours("uring")),
            Server("qsd_threads", theirs("threads")), Server("qsd_io_uring", theirs("io_uring"))]


def copy(uri, direction, connections, files, size):
    ends = (uri, "null:") if direction == "read" else (files["source"], uri)
    start = time.perf_counter()
    # As many threads as there may be connections: otherwise nbdcopy opens fewer.
    copy_bench.run("nbdcopy", f"--connections={connections}", f"--threads={connections}", "--requests=16",
                   "--no-extents", "--allocated", *ends)
    seconds = time.perf_counter() - start
    return {"real_time": round(seconds * 1e3, 3), "bytes_per_s": round(size / seconds)}


def fio(uri, direction, connections, depth, seconds, directory):
    command = ("fio", "--name=x", "--ioengine=nbd", f"--uri={uri}", f"--rw=rand{direction}", "--bs=4k",
               f"--iodepth={depth}", f"--numjobs={connections}", "--group_reporting", "--time_based",
               f"--runtime={round(seconds * 1000)}ms", "--ramp_time=300ms", "--output-format=json", "--randrepeat=0")
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                            cwd=directory)
    if result.returncode != 0:
        raise Failed(f"fio: {result.stderr.strip() or result.returncode}")
    job = json.loads(result.stdout[result.stdout.index("{"):])["jobs"][0]
    if job["error"] != 0:
        raise Failed(f"fio: error {job['error']}")
    side = job[direction]
    return {"real_time": round(side["clat_ns"]["mean"] / 1e6, 6), "requests_per_s": round(side["iops"]),
            "p50_us": round(side["clat_ns"]["percentile"]["50.000000"] / 1e3, 1),
            "p99_us": round(side["clat_ns"]["percentile"]["99.000000"] / 1e3, 1)}


def rows(server, socket, files, size, args, directory):
    """All figures of a server, as entries of the result."""
    with server.serve(files["image"], socket) as uri:
        for direction in ("read", "write"):
            for connections in CONNECTIONS:
                name = f"Nbd/copy_{direction}/{connections}x16/{server.name}"
                if re.search(args.only, name):
                    yield name, lambda d=direction, c=connections: copy(uri, d, c, files, size)
        for direction in ("read", "write"):
            for connections in CONNECTIONS:
                for depth in DEPTHS:
                    name = f"Nbd/rand{direction}/{connections}x{depth}/{server.name}"
                    if re.search(args.only, name):
                        yield name, lambda d=direction, c=connections, q=depth: fio(uri, d, c, q, args.seconds,
                                                                                    directory)


def mirror_rows(daemon, socket, files, size, args, directory):
    """Those of a daemon, while it mirrors the image."""
    speed = round(size / (args.seconds + 1.5))  # fio takes a while to begin and to end
    with daemon.serve(files, socket) as (uri, qmp):
        for direction in ("read", "write"):
            for connections in MIRROR_COPIES:
                name = f"Nbd/mirror_copy_{direction}/{connections}x16/{daemon.name}"
                if re.search(args.only, name):
                    yield name, lambda d=direction, c=connections: during_mirror(
                        qmp, speed, lambda: copy(uri, d, c, files, size))
        for direction in ("read", "write"):
            for connections, depth in MIRROR_RANDOM:
                name = f"Nbd/mirror_rand{direction}/{connections}x{depth}/{daemon.name}"
                if re.search(args.only, name):
                    yield name, lambda d=direction, c=connections, q=depth: during_mirror(
                        qmp, speed, lambda: fio(uri, d, c, q, args.seconds, directory))


def print_table(runs):
    print(f"{'':40}{'median':>10}{'min':>9}{'max':>9}   p99 us   mirrored   to the best of the others")
    by_row = {}
    for entry in runs:
        by_row.setdefault(entry["name"].rsplit("/", 1)[0], {}).setdefault(entry["name"], []).append(entry)
    for row in by_row.values():
        value = "bytes_per_s" if "bytes_per_s" in next(iter(row.values()))[0] else "requests_per_s"
        medians = {name: statistics.median(entry[value] for entry in entries) for name, entries in row.items()}
        for name, entries in sorted(row.items(), key=lambda item: -medians[item[0]]):
            # Ours against theirs, and theirs against ours.
            others = [m for other, m in medians.items() if ("/qsd" in other) != ("/qsd" in name)]
            scale, unit = (1 / MIB, "MiB/s") if value == "bytes_per_s" else (1, "/s")
            values = [entry[value] * scale for entry in entries]
            p99 = [entry["p99_us"] for entry in entries if "p99_us" in entry]
            mirrored = [entry["mirrored_bytes_per_s"] / MIB for entry in entries if "mirrored_bytes_per_s" in entry]
            print(f"{name:40}{medians[name] * scale:10.0f}{min(values):9.0f}{max(values):9.0f} {unit:6}"
                  f"{f'{statistics.median(p99):7.0f}' if p99 else '':7}"
                  f"{f'{statistics.median(mirrored):6.0f} MiB/s' if mirrored else '':12}"
                  f"{f'  × {medians[name] / max(others):.2f}' if others else ''}")


def note_all(measured, runs):
    name = "start"
    try:
        for name, measure in measured:
            os.sync()  # lest the kernel writes to the medium what earlier rows have left, in the middle of a later one
            try:
                entry = {"name": name, "run_type": "iteration",
                         "repetition_index": sum(run["name"] == name for run in runs), "time_unit": "ms"}
                runs.append({**entry, **measure()})
            except Failed as failure:
                print(f"{name}: {failure}", file=sys.stderr)
    except Failed as failure:
        print(f"behind {name}: {failure}", file=sys.stderr)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobctl", default=copy_bench.find_jobctl(), help="default: of build/release or build/bench")
    parser.add_argument("--dir", help="where the files are. Default: a temporary one beside jobctl")
    parser.add_argument("--size", type=int, default=512, metavar="MIB", help="of the image (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.6, help="of each run of fio (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="REGEX", help="names of results, Nbd/WHAT/CONNECTIONSxDEPTH/SERVER")
    parser.add_argument("--out", metavar="FILE", help="the result as JSON, in the form of Google Benchmark")
    parser.add_argument("--add", action="store_true", help="add to what is in --out")
    return parser.parse_args()


def main():
    args = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("nbd_bench: terminated"))  # and clean up
    if args.jobctl is None or not os.path.exists(args.jobctl):
        sys.exit("nbd_bench: no jobctl; build it, or name it with --jobctl")
    for program in ("nbdcopy", "fio"):
        if shutil.which(program) is None:
            sys.exit(f"nbd_bench: {program} is not installed")
    servers = all_servers(os.path.abspath(args.jobctl))
    missing = {server.program for server in servers if shutil.which(server.program) is None}
    if missing:
        print(f"skipped, not installed: {', '.join(missing)}", file=sys.stderr)
        servers = [server for server in servers if server.program not in missing]
    daemons = [daemon for daemon in all_daemons(os.path.abspath(args.jobctl)) if shutil.which(daemon.program)]

    size = args.size * MIB
    directory = args.dir or tempfile.mkdtemp(prefix="nbd-", dir=os.path.dirname(os.path.abspath(args.jobctl)))
    files = {name: os.path.join(directory, f"{name}.img") for name in ("image", "source", "target")}
    runs = []
    try:
        os.makedirs(directory, exist_ok=True)
        about = copy_bench.context(servers, directory, size)
        for path in files.values():
            copy_bench.make_image(path, "data", size)
        if args.add and args.out and os.path.exists(args.out):
            with open(args.out, encoding="utf-8") as file:
                runs = [entry for entry in json.load(file)["benchmarks"] if entry["run_type"] == "iteration"]
        for _ in range(args.rounds):
            for path in files.values():
                copy_bench.warm(path)
            for server in random.sample(servers, len(servers)):
                socket = os.path.join(directory, "nbd.sock")
                note_all(rows(server, socket, files, size, args, directory), runs)
            for daemon in random.sample(daemons, len(daemons)):
                socket = os.path.join(directory, "nbd.sock")
                note_all(mirror_rows(daemon, socket, files, size, args, directory), runs)
    finally:
        for path in files.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        if not args.dir:
            shutil.rmtree(directory, ignore_errors=True)
        if args.out and runs:
            with open(args.out, "w", encoding="utf-8") as file:
                json.dump({"context": about, "benchmarks": runs + copy_bench.aggregates(runs)}, file, indent=1)
                file.write("\n")
        print_table(runs)


if __name__ == "__main__":
    main()
