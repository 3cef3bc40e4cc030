#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What would more cores do? A simulation of contention_bench for machines that we do not have.

    contention_bench --benchmark_out=measured.json --benchmark_out_format=json
    queueing_model.py measured.json --json=model.json --markdown=model.md

Everything this prints about more than two cores is computed, not measured. It takes costs from the measured rows with
one I/O thread and one monitor, predicts those rows from the costs (the first table: both, and the factor between them),
and then goes on to more threads, each of which has a core to itself.

What is modelled. An I/O thread repeats {step, turn of its loop}. Under a context lock it holds that lock for the step.
A monitor begins a round every so often: a query of all jobs, which are dealt out to the I/O threads.
  AioContextLock   per job, the lock of its context; one query at a time (the big lock). Who finds the lock taken falls
                   asleep. A release with somebody asleep costs a system call (`kick`); the sleeper is there `wake`
                   later, and if by then the lock has been taken again, it falls asleep again. So what matters is how
                   often a wake-up is much quicker than usual: `wake` is lognormal, and its width is the one parameter
                   that was chosen to fit. Expect the order of magnitude, not more.
  FairContextLock  the same, but who waits is next, and spins for a while before it falls asleep.
  JobMutexOnly     per page of 64 jobs, one section of the one mutex, first come, first served. Steps take no lock.
What is not: pauses and cancels, the scheduler, interrupts, and caches (a query that reads what a driver writes costs
both of them): so the p99 of JobMutexOnly is hardly more than its p50 here, and lower than any that one will measure.
"""

import argparse
import collections
import dataclasses
import heapq
import json
import math
import random
import re

DESIGNS = ("AioContextLock", "FairContextLock", "JobMutexOnly")
STEPS = (1, 10, 100, 1000, 10000)  # us
RUN = 0.4e6  # us of a measured row: a call that has not returned by then counts with what it has taken
PAGE = 64


@dataclasses.dataclass
class Costs:
    """In microseconds."""

    turn: float  # of the loop, between two steps
    look: float  # at one job, under the lock of its context
    call: float  # of a query that finds everything free, besides its looks
    page: float  # of a query in jobcore, per page, besides its jobs
    record: float  # of one job in that
    held: float  # the share of these two that passes with job_mutex held (a share, not a time)
    kick: float  # release of a lock over which somebody sleeps
    wake: float  # from there until the sleeper runs: median
    wake_sigma: float  # of its logarithm
    short_wake: float  # the same, of one who has just fallen asleep over job_mutex: its processor is not idle yet
    spin: float  # of the fair locks, before they put to sleep
    slack: float  # a monitor's round begins up to so much later than it wanted


def percentile(values, percent):
    values = sorted(values)
    return values[(len(values) - 1) * percent // 100] if values else math.nan


class IOThread:
    """One that holds its context's lock during each step. Steps are not simulated one by one: between two visits of a
    monitor, they follow from when the last one began."""

    def __init__(self, step, costs, fair, rng):
        self.step, self.costs, self.fair, self.rng = step, costs, fair, rng
        self.cycle = step + costs.turn
        self.began = -rng.random() * self.cycle  # a step
        self.lost = 0.0  # time in which it would have gone on but for the monitors

    def _step_at(self, time):
        """When the step began that goes on at `time`, or went on last."""
        passed = max(0.0, time - self.began)
        if passed > 50 * self.cycle:  # steps are not that regular
            return time - self.rng.random() * self.cycle
        return time - passed % self.cycle

    def visit(self, time):
        """A monitor takes the lock, looks at one job, and releases the lock. When it goes on."""
        costs = self.costs
        while True:
            if time < self.began:  # it has been woken and is on its way: the lock is free
                return self._hold(time, self.began)
            end = self._step_at(time) + self.step
            next_step = end + costs.turn
            if time >= end:
                return self._hold(time, next_step)
            if self.fair and end - time <= costs.spin:
                return self._hold(end, next_step)
            wake = costs.wake * math.exp(self.rng.gauss(0, costs.wake_sigma))
            next_step += costs.kick
            self.lost += costs.kick
            if self.fair or end + wake < next_step:
                return self._hold(end + wake, next_step)
            self.began = next_step  # it was faster
            time = end + wake

    def _hold(self, time, next_step):
        """The monitor has the lock at `time`; the I/O thread wants it at `next_step`."""
        costs = self.costs
        released = time + costs.look
        if next_step >= released:
            self.began = next_step
            return released
        if self.fair and next_step >= time and released - next_step <= costs.spin:
            self.lost += released - next_step
            self.began = released
            return released
        self.began = released + costs.wake * math.exp(self.rng.gauss(0, costs.wake_sigma))
        self.lost += self.began - next_step
        return released + costs.kick


@dataclasses.dataclass
class Prediction:
    steps_per_s: float
    query_p50_us: float
    query_p99_us: float


def simulate(design, costs, *, io, monitors, jobs, step, period, seed, run=RUN, runs=1):
    latencies, steps = [], 0.0
    for number in range(runs):
        rng = random.Random(f"{seed}/{number}/{design}/{io}/{monitors}/{jobs}/{step}")
        if design == "JobMutexOnly":
            some, lost = _simulate_job_mutex(costs, monitors, jobs, period, run, rng)
        else:
            some, lost = _simulate_context_locks(design, costs, io, monitors, jobs, step, period, run, rng)
        latencies += some
        steps += (io * run - lost) / (step + costs.turn)
    return Prediction(steps / (runs * run) * 1e6, percentile(latencies, 50), percentile(latencies, 99))


def _next_round(costs, due, now, rng):
    """When the next round of a monitor begins, and when it ought to."""
    if due <= now:
        return now, now
    return due + rng.random() * costs.slack, due


def _simulate_context_locks(design, costs, io, monitors, jobs, step, period, run, rng):
    threads = [IOThread(step, costs, design == "FairContextLock", rng) for _ in range(io)]
    latencies = []
    rounds = [(rng.random() * period, 0.0, m) for m in range(monitors)]  # asks, wanted to, which
    heapq.heapify(rounds)
    big_lock_free = 0.0
    while rounds[0][0] < run:
        asked, wanted, monitor = heapq.heappop(rounds)
        time = max(asked, big_lock_free) + costs.call
        for job in range(jobs):
            time = threads[job % io].visit(time)
            if time >= run:
                break
        big_lock_free = time
        time = min(time, run)
        latencies.append(time - asked)
        asked, wanted = _next_round(costs, wanted + period, time, rng)
        heapq.heappush(rounds, (asked, wanted, monitor))
    return latencies, sum(min(t.lost, run) for t in threads)


def _simulate_job_mutex(costs, monitors, jobs, period, run, rng):
    latencies = []
    wants = []  # when it wants the mutex, which monitor, since when it asks, when it wanted to, jobs left to look at
    for monitor in range(monitors):
        asked = rng.random() * period
        heapq.heappush(wants, (asked, monitor, asked, 0.0, jobs))
    free = 0.0
    while wants[0][0] < run:
        time, monitor, asked, wanted, left = heapq.heappop(wants)
        begin = max(time, free)
        if begin - time > costs.spin:
            begin += costs.short_wake * math.exp(rng.gauss(0, costs.wake_sigma))
        records = min(PAGE, left)
        work = costs.page + records * costs.record
        free = begin + costs.held * work
        done = begin + work
        if left > records:
            heapq.heappush(wants, (done, monitor, asked, wanted, left - records))
        else:
            latencies.append(done - asked)
            asked, wanted = _next_round(costs, wanted + period, done, rng)
            heapq.heappush(wants, (asked, monitor, asked, wanted, jobs))
    return latencies, 0.0


class Measured:
    """Rows of contention_bench: of repetitions, the median."""

    def __init__(self, files):
        rows = collections.defaultdict(dict)
        for file in files:
            with open(file, encoding="utf-8") as stream:
                benchmarks = json.load(stream)["benchmarks"]
                medians = [row for row in benchmarks if row.get("aggregate_name") == "median"]
                for row in medians or benchmarks:
                    design = re.search(r"Contention<(\w+)>", row["name"])
                    if design:
                        args = {k: int(v) for k, v in re.findall(r"(\w+):(\d+)", row["name"])}
                        rows[design[1], args["step_us"], args["jobs"], args["period_us"]].setdefault(
                            (args["io"], args["monitors"], args["rest_us"], args["steps_per_turn"]), row
                        )
        self._rows = rows

    def row(self, design, step, jobs=1, period=200):
        """With one I/O thread and one monitor."""
        return self._rows[design, step, jobs, period][1, 1, 0, 1]

    def two_monitors(self):
        """In each other's way without a break, in jobcore, and hardly a driver; or None."""
        return self._rows["JobMutexOnly", 10, 256, 0].get((1, 2, 100000, 1))

    def costs(self, args):
        tight16 = {d: self.row(d, 100, 16, 0)["query_p50_us"] for d in ("AioContextLock", "JobMutexOnly")}
        tight1 = {d: self.row(d, 100, 1, 0)["query_p50_us"] for d in ("AioContextLock", "JobMutexOnly")}
        # As the first call after a sleep finds the caches.
        cold = self.row("JobMutexOnly", 100)["query_p50_us"]
        record = (tight16["JobMutexOnly"] - tight1["JobMutexOnly"]) / 15
        look = (tight16["AioContextLock"] - tight1["AioContextLock"]) / 15
        costs = Costs(
            turn=1e6 / self.row("JobMutexOnly", 1)["alone_steps_per_s"] - 1,
            look=look,
            call=cold - tight1["JobMutexOnly"] + tight1["AioContextLock"] - look,
            page=cold - record,
            record=record,
            held=args.held,
            kick=self.row("AioContextLock", 1000)["stall_p50_us"],
            # Both fall asleep once: the monitor for the driver, then the driver for the monitor.
            wake=self.row("FairContextLock", 10000)["stall_p50_us"] / 2,
            wake_sigma=args.wake_sigma,
            short_wake=args.short_wake,
            spin=args.spin,
            slack=50,  # Linux's default for timers
        )
        for field in dataclasses.fields(costs):
            given = getattr(args, field.name)
            if given is not None:
                setattr(costs, field.name, given)
        return costs


def factor(predicted, measured):
    return predicted / measured if measured else math.nan


def compare(real, model):
    return {
        name: {
            "measured": real[name],
            "computed": getattr(model, name),
            "factor": factor(getattr(model, name), real[name]),
        }
        for name in ("steps_per_s", "query_p50_us", "query_p99_us")
    }


def both(row, name):
    return f"{number(row[name]['measured'])} / *{number(row[name]['computed'])}* ({row[name]['factor']:.2g})"


def validate(measured, costs, seed):
    rows = []
    for design in DESIGNS:
        for step in STEPS:
            real = measured.row(design, step)
            # As long as the steps of that row were: other load on the machine makes them longer.
            length = max(0.1, 1e6 / real["alone_steps_per_s"] - costs.turn)
            model = simulate(design, costs, io=1, monitors=1, jobs=1, step=length, period=200, seed=seed, runs=20)
            rows.append({"design": design, "step_us": step, **compare(real, model)})
    return rows


def validate_two_monitors(measured, costs, seed):
    real = measured.two_monitors()
    if real is None:
        return None
    costs = dataclasses.replace(costs, slack=0)
    model = simulate("JobMutexOnly", costs, io=1, monitors=2, jobs=256, step=10, period=0, seed=seed, run=1e5)
    return compare(real, model)


def predict(costs, args):
    rows = []
    for cores in args.cores:
        monitors = max(1, cores // 8)
        io = cores - monitors
        jobs = args.jobs_per_io_thread * io
        ideal = io / (args.step_us + costs.turn) * 1e6
        for design in DESIGNS:
            model = simulate(design, costs, io=io, monitors=monitors, jobs=jobs, step=args.step_us,
                             period=args.period_us, seed=args.seed, run=args.run_s * 1e6)  # fmt: skip
            rows.append({"cores": cores, "io_threads": io, "monitors": monitors, "jobs": jobs, "design": design,
                         "of_ideal": model.steps_per_s / ideal, **dataclasses.asdict(model)})  # fmt: skip
    return rows


def number(value):
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def markdown(costs, validation, two_monitors, prediction, args):
    lines = ["Costs in µs: " + ", ".join(f"{k} {v:.3g}" for k, v in dataclasses.asdict(costs).items()) + ".", ""]
    lines += [
        "**One I/O thread, one monitor that queries one job every 200 µs: measured / *computed* (factor)**", "",
        "| design | step µs | steps/s | query p50 µs | query p99 µs |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for row in validation:
        cells = [both(row, name) for name in ("steps_per_s", "query_p50_us", "query_p99_us")]
        lines.append(f"| {row['design']} | {row['step_us']} | " + " | ".join(cells) + " |")
    if two_monitors:
        p50, p99 = (both(two_monitors, name) for name in ("query_p50_us", "query_p99_us"))
        lines += ["", "JobMutexOnly, two monitors that query 256 jobs without a break, and hardly a driver:"
                  f" p50 {p50} µs, p99 {p99} µs."]  # fmt: skip
    lines += [
        "",
        f"**Computed, not measured**: steps of {args.step_us:g} µs, {args.jobs_per_io_thread} jobs per I/O thread, every"
        f" monitor queries all jobs every {args.period_us:g} µs (or as soon as it has the last answer), a core for each"
        f" thread. A query that had not returned after {args.run_s:g} s counts with that.", "",
        "| cores | I/O threads | monitors | jobs | design | *steps/s* | *of ideal* | *query p50 µs* | *query p99 µs* |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in prediction:
        lines.append(
            f"| {row['cores']} | {row['io_threads']} | {row['monitors']} | {row['jobs']} | {row['design']} |"
            f" *{number(row['steps_per_s'])}* | *{row['of_ideal']:.3f}* | *{number(row['query_p50_us'])}* |"
            f" *{number(row['query_p99_us'])}* |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", nargs="+", help="JSON of contention_bench")
    parser.add_argument("--cores", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--step-us", type=float, default=100)
    parser.add_argument("--period-us", type=float, default=1000)
    parser.add_argument("--jobs-per-io-thread", type=int, default=4)
    parser.add_argument("--run-s", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="write everything there")
    parser.add_argument("--markdown", help="write the tables there")
    for field in dataclasses.fields(Costs):
        default = {"wake_sigma": 0.45, "spin": 3.0, "held": 0.5, "short_wake": 4.0}.get(field.name)
        parser.add_argument("--" + field.name.replace("_", "-"), type=float, default=default,
                            help="a cost in us, instead of the measured one")  # fmt: skip
    args = parser.parse_args()

    measured = Measured(args.measured)
    costs = measured.costs(args)
    validation = validate(measured, costs, args.seed)
    prediction = predict(costs, args)
    two_monitors = validate_two_monitors(measured, costs, args.seed)
    text = markdown(costs, validation, two_monitors, prediction, args)
    print(text, end="")
    if args.markdown:
        with open(args.markdown, "w", encoding="utf-8") as stream:
            stream.write(text)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as stream:
            json.dump({"note": "rows of `prediction` are computed, not measured", "costs_us": dataclasses.asdict(costs),
                       "validation": validation, "validation_two_monitors": two_monitors,
                       "prediction": prediction}, stream, indent=1)  # fmt: skip


if __name__ == "__main__":
    main()
