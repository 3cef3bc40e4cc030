#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Is a backup by jobctl as quick as other tools' copies of the same image, at the same durability?

Controls, in the same run and in turn: cp, qemu-img convert, and the backup job of qemu-storage-daemon. Two images of
4 GiB: one of incompressible data, and one of islands of 1 MiB in holes. Their data is in the page cache.

Two classes, compared only within:
  unsynced   the copy may be in the page cache only. jobctl --no-sync.
  synced     the copy is on stable storage: fdatasync of it is in the time. jobctl as it is by default, which syncs
             the directory, too.

The time is that of the whole process, for qemu-storage-daemon that of the job alone. Copies are compared with the
source and deleted outside of it, and no dirty page is left (sync) when a run begins. A copy that has more dirty pages
than vm.dirty_background_ratio allows is written back while it is made, in either class.

More rounds can be added to an earlier result (--add), so that no single call is long.

In a virtual machine whose host takes free memory back (free page reporting), pages that the guest has not used lately
cost more than the copy, and are dealt out by chance. --fill-memory lets there be few: it fills the page cache first, by
reading holes, so that the memory of one copy is that of the one deleted before.

Debian's packages: coreutils, qemu-utils, qemu-system-common (qemu-storage-daemon).
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
ISLANDS = 410
CLASSES = ("unsynced", "synced")
IMAGES = ("data", "sparse")


class Failed(Exception):
    """A tool did not do its work."""


def run(*command):
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Failed(f"{' '.join(command)}: {result.stderr.strip() or result.returncode}")


def sync_data(path):
    fd = os.open(path, os.O_RDWR)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


class Command:
    """A tool that is a process per copy."""

    def __init__(self, name, command, syncs_itself=False, images=IMAGES, classes=CLASSES):
        self.name = name
        self.command = command  # with SRC and DST
        self.syncs_itself = syncs_itself
        self.images = images
        self.classes = classes
        self.program = command[0]

    def copy(self, source, target, synced):
        """Returns the seconds it took."""
        start = time.perf_counter()
        run(*({"SRC": source, "DST": target}.get(word, word) for word in self.command))
        if synced and not self.syncs_itself:
            sync_data(target)
        return time.perf_counter() - start


class StorageDaemon:
    """The backup job of qemu-storage-daemon."""

    program = "qemu-storage-daemon"
    images = IMAGES
    classes = CLASSES

    def __init__(self, aio):
        self.name = f"qsd_backup_{aio}"
        self.aio = aio

    def copy(self, source, target, synced):
        with open(target, "xb") as file:
            file.truncate(os.path.getsize(source))

        def node(name, path, read_only):
            options = {"driver": "file", "node-name": name, "filename": path, "aio": self.aio, "read-only": read_only,
                       "discard": "unmap"}
            return ["--blockdev", json.dumps({"driver": "raw", "node-name": f"{name}-raw", "read-only": read_only,
                                              "discard": "unmap", "file": options})]

        command = [self.program, "--chardev", "stdio,id=c", "--monitor", "chardev=c",
                   *node("source", source, True), *node("target", target, False)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, bufsize=1) as daemon:
            try:
                self._until(daemon, "QMP")
                self._execute(daemon, "qmp_capabilities")
                start = time.perf_counter()
                self._execute(daemon, "blockdev-backup", **{"job-id": "copy", "device": "source-raw",
                                                            "target": "target-raw", "sync": "full"})
                done = self._until(daemon, "event", "BLOCK_JOB_COMPLETED")
                if "error" in done["data"]:
                    raise Failed(f"{self.name}: {done['data']['error']}")
                if synced:
                    sync_data(target)
                seconds = time.perf_counter() - start
                self._execute(daemon, "quit")
            except BaseException:
                daemon.kill()
                raise
        return seconds

    def _execute(self, daemon, command, **arguments):
        daemon.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._until(daemon, "return")

    def _until(self, daemon, key, value=None):
        for line in daemon.stdout:
            message = json.loads(line)
            if "error" in message:
                raise Failed(f"{self.name}: {message['error']['desc']}")
            if key in message and value in (None, message[key]):
                return message
        raise Failed(f"{self.name}: ended early: {daemon.stderr.read().strip()}")


def all_tools(jobctl):
    convert = ("qemu-img", "convert", "-f", "raw", "-O", "raw")
    parallel = ("-W", "-m", "16")
    return [
        Command("jobctl", (jobctl, "backup", "SRC", "DST"), syncs_itself=True, classes=("synced",)),
        Command("jobctl", (jobctl, "backup", "--no-sync", "SRC", "DST"), classes=("unsynced",)),
        Command("cp", ("cp", "SRC", "DST")),
        Command("cp_sparse_never", ("cp", "--sparse=never", "SRC", "DST"), images=("data",)),
        Command("qemu_img", (*convert, "SRC", "DST")),
        Command("qemu_img_W_m16", (*convert, *parallel, "SRC", "DST")),
        # The target without the page cache.
        Command("qemu_img_W_m16_direct", (*convert, *parallel, "-t", "none", "SRC", "DST"), classes=("synced",)),
        StorageDaemon("threads"),
        StorageDaemon("io_uring"),
    ]


def make_image(path, kind, size):
    with contextlib.suppress(FileNotFoundError):
        if os.path.getsize(path) == size:
            return
    print(f"making {path}", file=sys.stderr)
    with open(path, "wb") as file:
        file.truncate(size)
        if kind == "data":
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
        else:
            for i in range(ISLANDS):
                file.seek(size // MIB * i // ISLANDS * MIB)
                file.write(os.urandom(MIB))
    os.sync()


def warm(path):
    """Reads the data of the file, and leaves out its holes."""
    with open(path, "rb", buffering=0) as file:
        end = 0
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # only a hole is left
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            os.lseek(file.fileno(), start, os.SEEK_SET)
            left = end - start
            while left > 0:
                left -= len(file.read(min(left, MIB)))


def is_hole(fd, start, end):
    try:
        return os.lseek(fd, start, os.SEEK_DATA) >= end
    except OSError:  # only a hole is left
        return True


def same_content(a, b):
    with open(a, "rb", buffering=0) as x, open(b, "rb", buffering=0) as y:
        size = os.fstat(x.fileno()).st_size
        if os.fstat(y.fileno()).st_size != size:
            return False
        for start in range(0, size, MIB):
            end = min(start + MIB, size)
            if is_hole(x.fileno(), start, end) and is_hole(y.fileno(), start, end):
                continue
            if os.pread(x.fileno(), MIB, start) != os.pread(y.fileno(), MIB, start):
                return False
        return True


def fill_memory(path, spare):
    """Leaves about `spare` bytes of memory free."""
    with open("/proc/meminfo", encoding="ascii") as file:
        free = int(re.search(r"^MemFree: *(\d+) kB$", file.read(), re.MULTILINE).group(1)) * 1024
    with open(path, "xb") as file:
        file.truncate(max(0, free - spare))
    with open(path, "rb", buffering=0) as file:
        while file.read(4 * MIB):
            pass


def sysctl(name):
    try:
        with open(f"/proc/sys/{name.replace('.', '/')}", encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return None


def version_of(program):
    with contextlib.suppress(OSError, IndexError):
        return subprocess.run((program, "--version"), capture_output=True, text=True, check=False).stdout.splitlines()[0]
    return None


def context(tools, directory, size):
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "num_cpus": os.cpu_count(),
        "image_bytes": size,
        "islands_of_the_sparse_image": ISLANDS,
        "file_system": subprocess.run(("stat", "-f", "-c", "%T", directory), capture_output=True, text=True,
                                      check=False).stdout.strip(),
        "vm": {name: sysctl(f"vm.{name}") for name in ("dirty_ratio", "dirty_background_ratio", "dirty_bytes",
                                                       "dirty_background_bytes", "dirty_expire_centisecs")},
        "tools": {program: version_of(program) for program in sorted({os.path.basename(t.program) for t in tools})
                  if program != "jobctl"},
    }


def measure(tool, klass, image, source, target, round_number):
    """One run, as an entry of the result."""
    os.sync()
    seconds = tool.copy(source, target, klass == "synced")
    return {
        "name": f"Copy/{klass}/{image}/{tool.name}",
        "run_type": "iteration",
        "repetition_index": round_number,
        "real_time": round(seconds * 1e3, 3),
        "time_unit": "ms",
        "identical": None if round_number > 0 else same_content(source, target),
        # At most a few blocks more: of metadata.
        "as_sparse": os.stat(target).st_blocks <= os.stat(source).st_blocks + 64,
    }


def aggregates(runs):
    """Median and coefficient of variation of each name, and the median's ratio to the best of the other tools."""
    times = {}
    for entry in runs:
        times.setdefault(entry["name"], []).append(entry["real_time"])
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = []
    for name, values in times.items():
        group = name.rsplit("/", 1)[0] + "/"
        others = [m for other, m in medians.items() if other.startswith(group) and other != name]
        common = {"run_name": name, "run_type": "aggregate", "repetitions": len(values)}
        result.append({"name": f"{name}_median", **common, "aggregate_name": "median", "real_time": medians[name],
                       "time_unit": "ms", "min_time": min(values), "max_time": max(values),
                       "ratio_to_best_other": round(medians[name] / min(others), 3) if others else None})
        if len(values) > 1:
            result.append({"name": f"{name}_cv", **common, "aggregate_name": "cv", "aggregate_unit": "percentage",
                           "real_time": statistics.stdev(values) / statistics.mean(values), "time_unit": "ms"})
    return result


def print_table(runs):
    print(f"{'':44}{'median':>9}{'min':>8}{'max':>8}  ms    to the best of the others")
    medians = [entry for entry in aggregates(runs) if entry["aggregate_name"] == "median"]
    for entry in sorted(medians, key=lambda e: (e["name"].split("/")[:3], e["real_time"])):
        mine = [r for r in runs if r["name"] == entry["run_name"]]
        ratio = entry["ratio_to_best_other"]
        remarks = []
        if any(r["identical"] is False for r in mine):
            remarks.append("NOT IDENTICAL")
        if not all(r["as_sparse"] for r in mine):
            remarks.append("not as sparse as the source")
        print(f"{entry['run_name']:44}{entry['real_time']:9.0f}{entry['min_time']:8.0f}{entry['max_time']:8.0f}"
              f"  {'' if ratio is None else f'× {ratio:.2f}':10}{', '.join(remarks)}".rstrip())


def find_jobctl():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for preset in ("release", "bench"):
        path = os.path.join(root, "build", preset, "jobctl")
        if os.path.exists(path):
            return path
    return None


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobctl", default=find_jobctl(), help="default: of build/release or build/bench")
    parser.add_argument("--dir", help="where the files are; kept images there are used again. Default: a temporary one "
                        "beside jobctl")
    parser.add_argument("--keep", action="store_true", help="keep the images")
    parser.add_argument("--size", type=int, default=4096, metavar="MIB", help="of the images (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="0: make the images only (default: %(default)s)")
    parser.add_argument("--images", choices=IMAGES, nargs="*", default=IMAGES)
    parser.add_argument("--classes", choices=CLASSES, nargs="*", default=CLASSES)
    parser.add_argument("--fill-memory", action="store_true")
    parser.add_argument("--only", default="", metavar="REGEX", help="names of results, Copy/CLASS/IMAGE/TOOL")
    parser.add_argument("--out", metavar="FILE", help="the result as JSON, in the form of Google Benchmark")
    parser.add_argument("--add", action="store_true", help="add to what is in --out")
    return parser.parse_args()


def main():
    args = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("copy_bench: terminated"))  # and clean up
    if args.jobctl is None or not os.path.exists(args.jobctl):
        sys.exit("copy_bench: no jobctl; build it, or name it with --jobctl")
    tools = all_tools(os.path.abspath(args.jobctl))
    for program in sorted({tool.program for tool in tools if shutil.which(tool.program) is None}):
        print(f"skipped, not installed: {program}", file=sys.stderr)
    tools = [tool for tool in tools if shutil.which(tool.program) is not None]

    size = args.size * MIB
    directory = args.dir or tempfile.mkdtemp(prefix="copy-bench-", dir=os.path.dirname(os.path.abspath(args.jobctl)))
    sources = {image: os.path.join(directory, f"{image}.img") for image in args.images}
    target = os.path.join(directory, "target.img")
    filler = os.path.join(directory, "filler")
    runs = []
    try:
        os.makedirs(directory, exist_ok=True)
        if shutil.disk_usage(directory).free < 3 * size:
            sys.exit(f"copy_bench: {3 * args.size} MiB must be free in {directory}")
        about = context(tools, directory, size)
        for image, source in sources.items():
            make_image(source, image, size)
        if args.add and args.out and os.path.exists(args.out):
            with open(args.out, encoding="utf-8") as file:
                runs = [entry for entry in json.load(file)["benchmarks"] if entry["run_type"] == "iteration"]
        if args.fill_memory and args.rounds > 0:
            fill_memory(filler, size // 2)
        for _ in range(args.rounds):
            for image, source in sources.items():
                warm(source)
                for klass in args.classes:
                    # In any order: a tool copies into the memory that the one before it had.
                    for tool in random.sample(tools, len(tools)):
                        name = f"Copy/{klass}/{image}/{tool.name}"
                        if klass not in tool.classes or image not in tool.images or not re.search(args.only, name):
                            continue
                        try:
                            round_number = sum(entry["name"] == name for entry in runs)
                            runs.append(measure(tool, klass, image, source, target, round_number))
                        except Failed as failure:
                            print(f"{name}: {failure}", file=sys.stderr)
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(target)
    finally:
        for path in (target, filler):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        if not args.keep:
            for source in sources.values():
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(source)
        if not args.dir:
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        if args.out and runs:
            with open(args.out, "w", encoding="utf-8") as file:
                json.dump({"context": about, "benchmarks": runs + aggregates(runs)}, file, indent=1)
                file.write("\n")
        print_table(runs)


if __name__ == "__main__":
    main()
