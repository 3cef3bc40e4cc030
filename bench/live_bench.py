#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast are a mirror and a backup of a disk in use, and what do they cost those who write to it meanwhile?

Controls, in the same run and in turn: the mirror and the backup of qemu-storage-daemon, with aio=threads and with
aio=io_uring. Source and target are files on the same disk, in the page cache, and the target has room for everything
already: what is measured is the job, not the allocation of memory and blocks. Nobody waits for the medium (no flushes,
on either side), and no dirty page is left (sync) when a run begins. A mirror is measured until it is READY, a backup
until it has ended.

The foreground is the same program on both sides (live/live_client.cc): writers of 4 KiB at random places, at the same
fixed pace, so that they take as much from the one job as from the other. qd1: one at a time; qd4: four at the same
moments. What is fair to compare:

  the time of a job, idle and with that foreground; with a look at writes_per_s: a side that lets its writers wait has
  more time for the job
  p99_ratio: the foreground's p99 while the job runs to that without a job, in the same round and on the same side

What is not: absolute latencies. A write to qemu-storage-daemon goes through a Unix socket (NBD, the only way in), a
write to a file node of ours does not. Ours is run on both engines, with as many threads as there are processors:
"jobcore" is the thread pool, which suits files in the page cache, "jobcore_uring" is io_uring.

More rounds can be added to an earlier result (--add), so that no single call is long.

Debian's package: qemu-system-common (qemu-storage-daemon).
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import copy_bench
from copy_bench import MIB, Failed

JOBS = ("none", "mirror", "backup")
FOREGROUNDS = {"idle": 0, "qd1": 1, "qd4": 4}  # writers
# Of a foreground without a job.
SECONDS = 1
WARM_UP = 0.2


def foreground_arguments(foreground, rate):
    return [f"--writers={FOREGROUNDS[foreground]}", f"--rate={rate}"]


class Jobcore:
    """Nodes and jobs of this library, in the foreground's process."""

    def __init__(self, name, client, engine):
        self.name = name
        self.client = client
        self.engine = engine
        self.program = client

    def measure(self, job, foreground, source, target, options):
        command = [self.client, "jobcore", f"--source={source}", f"--target={target}", f"--job={job}",
                   f"--engine={self.engine}", f"--threads={os.cpu_count()}",
                   f"--seconds={SECONDS}", *foreground_arguments(foreground, options.rate)]
        if options.direct:
            command.append("--direct")
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise Failed(f"{self.name}: {result.stderr.strip() or result.returncode}")
        return json.loads(result.stdout)


class StorageDaemon(copy_bench.StorageDaemon):
    """Those of qemu-storage-daemon, which the foreground reaches by NBD.

    Without an iothread: version 7.2 runs a job in the thread of its disk, so that would be no second one for it, and it
    often aborts when a backup of a disk in an iothread begins or ends while an NBD client is connected.
    """

    def __init__(self, client, aio):
        super().__init__(aio)
        self.name = f"qsd_{aio}"
        self.client = client

    def measure(self, job, foreground, source, target, options):
        socket = os.path.join(os.path.dirname(source), "nbd.sock")

        def node(name, path):
            blockdev = {"driver": "file", "node-name": name, "filename": path, "aio": self.aio,
                        "cache": {"direct": options.direct, "no-flush": True}}
            return ["--blockdev", json.dumps(blockdev)]

        command = [self.program, "--chardev", "stdio,id=c", "--monitor", "chardev=c",
                   *node("source", source), *node("target", target),
                   "--nbd-server", f"addr.type=unix,addr.path={socket}",
                   "--export", "type=nbd,id=e,node-name=source,name=disk,writable=on"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, bufsize=1) as daemon:
            try:
                self._until(daemon, "QMP")
                self._execute(daemon, "qmp_capabilities")
                client = [self.client, "nbd", f"--socket={socket}", "--export=disk",
                          *foreground_arguments(foreground, options.rate)]
                with subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      text=True, bufsize=1) as writers:
                    try:
                        return self._measure(daemon, writers, job)
                    except BaseException:
                        writers.kill()
                        raise
            finally:
                daemon.kill()  # "quit" aborts now and then, as long as an NBD client is just going
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(socket)

    def _measure(self, daemon, writers, job):
        time.sleep(WARM_UP)
        seconds = 0
        writers.stdin.write("begin\n")
        if job == "none":
            time.sleep(SECONDS)
        else:
            arguments = {"job-id": "job", "device": "source", "target": "target", "sync": "full"}
            start = time.perf_counter()
            self._execute(daemon, f"blockdev-{job}", **arguments)
            end = "BLOCK_JOB_READY" if job == "mirror" else "BLOCK_JOB_COMPLETED"
            done = self._until(daemon, "event", end)
            seconds = time.perf_counter() - start
            if "error" in done["data"]:
                raise Failed(f"{self.name}: {done['data']['error']}")
        out, err = writers.communicate("end\n")
        if writers.returncode != 0:
            raise Failed(f"{self.name}: {err.strip()}")
        if job == "mirror":  # its last writes, too, are to be in the target
            self._execute(daemon, "block-job-cancel", device="job")
            self._until(daemon, "event", "BLOCK_JOB_COMPLETED")
        return {**json.loads(out), "job_s": seconds}


def all_tools(client):
    return [
        Jobcore("jobcore", client, "threads"),
        Jobcore("jobcore_uring", client, "uring"),
        StorageDaemon(client, "threads"),
        StorageDaemon(client, "io_uring"),
    ]


def fill_with_zeros(path, size):
    """In place: its blocks, and its pages, are there afterwards."""
    with open(path, "r+b" if os.path.exists(path) else "wb", buffering=0) as file:
        for _ in range(size // MIB):
            file.write(bytes(MIB))
    os.sync()


def p99_without_job(runs, tool, foreground, round_number):
    for entry in runs:
        if entry["name"] == f"Live/none/{foreground}/{tool}" and entry["repetition_index"] == round_number:
            return entry["p99_us"]
    return None


def measure(tool, job, foreground, files, options, runs):
    """One run, as an entry of the result."""
    name = f"Live/{job}/{foreground}/{tool.name}"
    round_number = sum(entry["name"] == name for entry in runs)
    checks = foreground == "idle" and round_number == 0
    if checks:
        fill_with_zeros(files["target"], os.path.getsize(files["source"]))
    os.sync()
    found = tool.measure(job, foreground, files["source"], files["target"], options)
    seconds = found["job_s"] if job != "none" else found["seconds"]
    entry = {"name": name, "run_type": "iteration", "repetition_index": round_number,
             "real_time": round(seconds * 1e3, 3), "time_unit": "ms"}
    if job != "none":
        entry["bytes_per_s"] = round(os.path.getsize(files["source"]) / seconds)
    if foreground != "idle":
        entry["writes_per_s"] = round(found["writes"] / found["seconds"])
        entry["p50_us"] = found["p50_us"]
        entry["p99_us"] = found["p99_us"]
        without = p99_without_job(runs, tool.name, foreground, round_number)
        if job != "none" and without:
            entry["p99_ratio"] = round(found["p99_us"] / without, 3)
    if checks:
        entry["identical"] = copy_bench.same_content(files["source"], files["target"])
    return entry


def print_table(runs):
    print(f"{'':34}{'ms':>8}{'min':>8}{'max':>8}{'MiB/s':>8}{'p50':>8}{'p99':>8} us   p99 to that without the job")
    names = dict.fromkeys(entry["name"] for entry in runs)
    for name in sorted(names, key=lambda n: (n.rsplit("/", 1)[0], n)):
        mine = [entry for entry in runs if entry["name"] == name]

        def column(key, factor=1.0, digits=0, width=8, of=mine):
            values = [entry[key] for entry in of if entry.get(key) is not None]
            return f"{copy_bench.statistics.median(values) * factor:{width}.{digits}f}" if values else " " * width

        times = [entry["real_time"] for entry in mine]
        remarks = ["NOT IDENTICAL"] if any(entry.get("identical") is False for entry in mine) else []
        print(f"{name:34}{column('real_time')}{min(times):8.0f}{max(times):8.0f}{column('bytes_per_s', 1 / MIB)}"
              f"{column('p50_us')}{column('p99_us')}  {column('p99_ratio', digits=2)}  {', '.join(remarks)}".rstrip())


def find_client():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.path.join(root, "build", "bench", "live_client")
    return path if os.path.exists(path) else None


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", default=find_client(), help="live_client; default: of build/bench")
    parser.add_argument("--dir", help="where the files are; kept images there are used again. Default: a temporary one "
                        "beside live_client")
    parser.add_argument("--keep", action="store_true", help="keep the images")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB", help="of the image (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="0: make the images only (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=2000, help="foreground writes per second (default: %(default)s)")
    parser.add_argument("--direct", action="store_true", help="past the page cache")
    parser.add_argument("--only", default="", metavar="REGEX", help="names of results, Live/JOB/FOREGROUND/TOOL")
    parser.add_argument("--out", metavar="FILE", help="the result as JSON, in the form of Google Benchmark")
    parser.add_argument("--add", action="store_true", help="add to what is in --out")
    return parser.parse_args()


def main():
    args = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("live_bench: terminated"))  # and clean up
    if args.client is None or not os.path.exists(args.client):
        sys.exit("live_bench: no live_client; build it, or name it with --client")
    tools = all_tools(os.path.abspath(args.client))
    if shutil.which(StorageDaemon.program) is None:
        print(f"skipped, not installed: {StorageDaemon.program}", file=sys.stderr)
        tools = [tool for tool in tools if not isinstance(tool, StorageDaemon)]

    size = args.size * MIB
    directory = args.dir or tempfile.mkdtemp(prefix="live-", dir=os.path.dirname(os.path.abspath(args.client)))
    files = {name: os.path.join(directory, f"{name}.img") for name in ("source", "target")}
    runs = []
    try:
        os.makedirs(directory, exist_ok=True)
        if shutil.disk_usage(directory).free < 3 * size:
            sys.exit(f"live_bench: {3 * args.size} MiB must be free in {directory}")
        about = copy_bench.context(tools, directory, size)
        about["foreground_writes_per_second"] = args.rate
        about["direct"] = args.direct
        copy_bench.make_image(files["source"], "data", size)
        if not os.path.exists(files["target"]) or os.path.getsize(files["target"]) != size:
            fill_with_zeros(files["target"], size)
        if args.add and args.out and os.path.exists(args.out):
            with open(args.out, encoding="utf-8") as file:
                runs = [entry for entry in json.load(file)["benchmarks"] if entry["run_type"] == "iteration"]
        for _ in range(args.rounds):
            for path in files.values():
                copy_bench.warm(path)
            for foreground in FOREGROUNDS:
                for job in JOBS:
                    for tool in copy_bench.random.sample(tools, len(tools)):
                        name = f"Live/{job}/{foreground}/{tool.name}"
                        if (job == "none" and foreground == "idle") or not re.search(args.only, name):
                            continue
                        try:
                            runs.append(measure(tool, job, foreground, files, args, runs))
                        except Failed as failure:
                            print(f"{name}: {failure}", file=sys.stderr)
    finally:
        if not args.keep:
            for path in files.values():
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        if not args.dir:
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        if args.out and runs:
            with open(args.out, "w", encoding="utf-8") as file:
                json.dump({"context": about, "benchmarks": runs + copy_bench.aggregates(runs)}, file, indent=1)
                file.write("\n")
        print_table(runs)


if __name__ == "__main__":
    main()
