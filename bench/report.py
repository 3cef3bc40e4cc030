#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Turns what the benchmarks have measured into bench/report: README.md and plots.

usage: report.py JSON_DIRECTORY OUTPUT_DIRECTORY

Reads every *_bench.json of Google Benchmark in the first directory, and targets.json beside this script. A case is what
Google Benchmark calls a run; its repetitions become a median and a range. Needs python3-matplotlib for the plots.
"""

import collections
import fnmatch
import json
import pathlib
import platform
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent

# What Google Benchmark appends to a name to say how it was run, and what distinguishes no case from another.
HOW_IT_WAS_RUN = re.compile(
    r"/(real_time|manual_time|process_time|(iterations|repeats|min_time|min_warmup_time):[^/]*)")
# Members of a record in the JSON that are no counters.
NO_COUNTERS = {
    "name", "family_index", "per_family_instance_index", "run_name", "run_type", "repetitions", "repetition_index",
    "threads", "iterations", "real_time", "cpu_time", "time_unit", "aggregate_name", "aggregate_unit", "label",
    "error_occurred", "error_message", "big_o", "rms", "cpu_coefficient", "real_coefficient",
}
NANOSECONDS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
SCALES = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]


# --- values and their units ---


class Sample:
    """What one quantity came to in the repetitions."""

    def __init__(self, values, unit):
        self.median = statistics.median(values)
        self.low = min(values)
        self.high = max(values)
        self.unit = unit  # "ns", "B", "/s", or "" for a plain number

    def spread(self):
        if self.low == self.high:
            return ""
        return f"{show(self.low, self.unit)} – {show(self.high, self.unit)}"


def digits(value):
    """Three significant digits, never in scientific notation."""
    if value == int(value) and abs(value) < 1e4:
        return str(int(value))
    magnitude = abs(value)
    decimals = 0 if magnitude >= 100 else 1 if magnitude >= 10 else 2 if magnitude >= 1 else 3 if magnitude >= 0.1 else 4
    return f"{value:,.{decimals}f}"


def show(value, unit):
    if unit == "ns":
        for factor, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
            if abs(value) >= factor:
                return f"{digits(value / factor)} {name}"
        return f"{digits(value)} ns"
    if unit == "B":
        return f"{value:,.0f} B"
    for factor, prefix in SCALES:
        if abs(value) >= factor * (1 if unit else 10):
            return f"{digits(value / factor)} {prefix}{unit}".rstrip()
    return f"{digits(value)} {unit}".rstrip()


def counter_unit(name):
    """The unit of a counter is the end of its name; per_<thing> is seconds, an inverted rate."""
    if name.endswith("_per_second") or name.endswith("_per_s"):
        return "/s", 1
    if name.startswith("per_"):
        return "ns", 1e9
    for suffix, factor in NANOSECONDS.items():
        if name.endswith("_" + suffix):
            return "ns", factor
    if name.endswith("_bytes") or name.endswith("_B"):
        return "B", 1
    return "", 1


def without_unit(counter):
    return re.sub(r"_(ns|us|ms|s|bytes|B|per_second|per_s)$", "", counter)


def parse_quantity(text):
    """"1.5 ns" -> (1.5, "ns"); "0.55 x" -> (0.55, "x"); "768 B", "15e6 /s", "3"."""
    number, _, unit = text.partition(" ")
    if unit in NANOSECONDS:
        return float(number) * NANOSECONDS[unit], "ns"
    return float(number), unit


# --- what was measured ---


class Case:
    """One benchmark with its arguments."""

    def __init__(self, name, records):
        self.name = name
        self.errors = sorted({r["error_message"] for r in records if r.get("error_occurred")})
        self.labels = sorted({r["label"] for r in records if r.get("label")})
        records = [r for r in records if not r.get("error_occurred")]
        self.samples = {}
        self.shown = "time"
        if not records:
            return
        self.samples["time"] = Sample([r["real_time"] * NANOSECONDS[r["time_unit"]] for r in records], "ns")
        for key in records[0]:
            values = [r[key] for r in records if r.get(key) is not None]
            if key in NO_COUNTERS or not values:
                continue
            if isinstance(values[0], bool):  # something that should be so
                self.labels += [] if all(values) else [f"not {key}"]
            elif isinstance(values[0], (int, float)):
                unit, factor = counter_unit(key)
                self.samples[key] = Sample([v * factor for v in values], unit)
        rates = [r["items_per_second"] for r in records if r.get("items_per_second")]
        inverted = [key for key in self.samples if key.startswith("per_")]
        if rates:
            self.samples["per_item"] = Sample([1e9 / rate for rate in rates], "ns")
        elif inverted:
            self.samples["per_item"] = self.samples[inverted[0]]
        self.shown = "per_item" if "per_item" in self.samples else "time"

    def main(self):
        """What the table and the plot show: the time of an item where the benchmark says how many there were."""
        return self.samples[self.shown]

    def counters(self, wanted):
        """Those that are wanted, in this order; none named: all."""
        others = [key for key in self.samples if key not in ("time", "per_item", "items_per_second", self.shown)
                  and not key.startswith("per_")]
        keys = [key for key in wanted if key in others] if wanted else sorted(others)
        return [(key, self.samples[key]) for key in keys]


class Program:
    def __init__(self, path):
        self.name = path.stem
        data = json.loads(path.read_text())
        self.context = data.get("context", {})
        repetitions, medians = {}, {}
        for record in data.get("benchmarks", []):
            name = HOW_IT_WAS_RUN.sub("", record.get("run_name", record["name"]))
            if record.get("run_type", "iteration") == "iteration":
                repetitions.setdefault(name, []).append(record)
            elif record.get("aggregate_name") == "median":  # of a benchmark that reports nothing but aggregates
                medians.setdefault(name, []).append(record)
        records = {**medians, **repetitions}
        self.cases = {name: Case(name, records[name]) for name in sorted(records, key=lambda n: order(records[n][0]))}


def order(record):
    """As in the source: the interleaving of the repetitions is random."""
    return record.get("family_index", 0), record.get("per_family_instance_index", 0)


def load(directory, descriptions):
    programs = {}
    for path in sorted(directory.glob("*_bench.json")):
        try:
            program = Program(path)
        except (json.JSONDecodeError, KeyError) as error:  # a run that was cut short
            print(f"{path.name}: not understood ({error})", file=sys.stderr)
            continue
        programs[program.name] = program
        for pattern, value in descriptions.get(program.name, {}).get("main", []):
            for case in program.cases.values():
                if re.fullmatch(pattern, case.name) and value in case.samples:
                    case.shown = value
    return programs


def case_named(programs, program, name):
    """The case, or a text that says what is missing."""
    if program not in programs:
        return f"no such benchmark: {program}"
    cases = programs[program].cases
    if name not in cases:
        return f"no such benchmark: {program} {name}"
    if not cases[name].samples:
        return "failed: " + "; ".join(cases[name].errors)
    return cases[name]


def best_control(programs, program, patterns, value):
    """The quickest of the cases that the patterns name: its sample, or a text."""
    found = []
    cases = programs[program].cases if program in programs else {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        names = [pattern] if pattern in cases else fnmatch.filter(cases, pattern)
        found += [cases[name] for name in names if cases[name].samples]
    if not found:
        return f"no such control: {program} {patterns}"
    best = min(found, key=lambda case: pick(case, value).median)
    return pick(best, value)


def pick(case, value):
    return case.main() if value == "main" else case.samples.get(value) or case.main()


# --- the report ---


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def check(target, programs):
    """(measured, spread, verdict) of one target."""
    case = case_named(programs, target["program"], target["benchmark"])
    if isinstance(case, str):
        return case, "", "–"
    value = target.get("value", "main")
    if value != "main" and value not in case.samples:
        return f"no such counter: {target['program']} {target['benchmark']} {value}", "", "–"
    sample = pick(case, value)
    sense = "at_least" if "at_least" in target else "at_most"
    limit, unit = parse_quantity(target[sense])
    measured, text, spread = sample.median, show(sample.median, sample.unit), sample.spread()
    if "control" in target:
        control = best_control(programs, target.get("control_program", target["program"]), target["control"],
                               target.get("control_value", value))
        if isinstance(control, str):
            return control, "", "–"
        whole = control.median * target.get("control_share", 1)
        measured /= whole
        text = f"{digits(measured)} × ({text} / {show(whole, control.unit)})"
    elif unit != sample.unit and sample.unit:
        return f"measured in '{sample.unit}', not in '{unit}'", "", "–"
    elif not sample.unit:  # a plain number is one of what the target counts in
        sample.unit = unit
        text, spread = show(sample.median, unit), sample.spread()
    met = measured >= limit if sense == "at_least" else measured <= limit
    return text, spread, "met" if met else "**missed**"


def limit_text(target):
    sense = "≥" if "at_least" in target else "≤"
    number, unit = parse_quantity(target.get("at_least") or target.get("at_most"))
    if unit == "x":
        control = target.get("control_text") or target["control"]
        return f"{sense} {digits(number)} × {control}"
    return f"{sense} {show(number, unit)}"


def targets_section(targets, programs):
    rows, verdicts = [], collections.Counter()
    what = None
    for target in targets:
        measured, spread, verdict = check(target, programs)
        verdicts[verdict.strip("*")] += 1
        first = target["what"] != what
        what = target["what"]
        rows.append([what if first else "", target.get("case", ""), target.get("qemu", "–"), limit_text(target),
                     measured, spread, verdict])
    summary = f"{verdicts['met']} met, {verdicts['missed']} missed, {verdicts['–']} not measured."
    header = ["what", "case", "best of QEMU", "target", "measured (median)", "min – max", ""]
    return f"## Targets\n\n{summary}\n\n" + table(header, rows)


def control_of(case, program, controls):
    """The control that belongs to a case: the first whose pattern matches; it may use the pattern's groups."""
    for pattern, control in controls:
        match = re.fullmatch(pattern, case.name)
        other = program.cases.get(match.expand(control)) if match else None
        if other and other is not case and other.samples:
            return other
    return None


def program_section(program, about, plot):
    lines = [f"## {program.name}\n", about.get("question", "") + "\n"]
    controls = about.get("controls", [])
    any_control = any(control_of(case, program, controls) for case in program.cases.values())
    wanted = about.get("counters", [])
    any_counter = any(case.counters(wanted) for case in program.cases.values())
    header = ["case", "median", "min – max"] + ["× control"] * any_control + ["counters (median)"] * any_counter
    rows = []
    for case in program.cases.values():
        name = f"`{case.name}`" + "".join(f" ({label})" for label in case.labels)
        if not case.samples:
            rows.append([name, "failed", "; ".join(case.errors)] + [""] * (any_control + any_counter))
            continue
        main = case.main()
        what = {"time": "", "per_item": " per item"}.get(case.shown, f" ({without_unit(case.shown)})")
        row = [name, show(main.median, main.unit) + what, main.spread()]
        if any_control:
            control = control_of(case, program, controls)
            row.append(digits(main.median / control.main().median) if control and control.main().median else "")
        if any_counter:
            row.append(", ".join(f"{without_unit(n)} {show(s.median, s.unit)}" for n, s in case.counters(wanted)))
        rows.append(row)
    lines.append(table(header, rows))
    if plot:
        lines.append(f"![{program.name}]({plot})\n")
    return "\n".join(lines)


def command_output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine_section(programs, directory):
    cpu = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", cpu)
    contexts = [p.context for p in programs.values()]
    cpus = next((c["num_cpus"] for c in contexts if "num_cpus" in c), cpu.count("processor\t"))
    virtual = "under a hypervisor" if re.search(r"^flags\s*:.*\bhypervisor\b", cpu, re.M) else "no hypervisor"
    cache_file = directory / "CMakeCache.txt"
    cache = cache_file.read_text() if cache_file.exists() else ""

    def cached(name):
        found = re.search(rf"^{name}:[A-Z]+=(.*)$", cache, re.M)
        return found.group(1).strip() if found else ""

    build_type = cached("CMAKE_BUILD_TYPE")
    compiler = command_output(cached("CMAKE_CXX_COMPILER") or "c++", "--version").partition("\n")[0]
    flags = " ".join(f for f in (cached("CMAKE_CXX_FLAGS"), cached(f"CMAKE_CXX_FLAGS_{build_type.upper()}")) if f)
    changed = command_output("git", "status", "--porcelain", "--", "..", ":!report")
    dates = sorted(c["date"] for c in contexts if "date" in c)
    loads = [c["load_avg"][0] for c in contexts if c.get("load_avg")]
    rows = [
        ["CPU", f"{model.group(1) if model else platform.machine()}, {cpus} CPUs, {virtual}"],
        ["kernel", f"{platform.system()} {platform.release().partition('-')[0]}"],
        ["compiler", f"{compiler}, `{flags}`"],
        ["run", " to ".join(dict.fromkeys(d[:16].replace("T", " ") for d in (dates[:1] + dates[-1:])))],
        ["load average before each program", f"{min(loads):.2f} – {max(loads):.2f}" if loads else "unknown"],
        ["commit", command_output("git", "rev-parse", "--short=12", "HEAD") + (", with changes" if changed else "")],
    ]
    return table(["", ""], rows)


def lines_over(cases, argument):
    """{line: [(argument's value, sample)]} of benchmarks that were run with three or more values of it; none named: the
    last argument."""
    lines = {}
    for case in cases:
        parts = case.name.split("/")
        where = next((i for i, part in enumerate(parts) if part.startswith(f"{argument}:")), -1) if argument else -1
        value = parts[where].rpartition(":")[2]  # of "jobs" and "1000", or of "1000"
        if len(parts) > 1 and value.isdigit() and int(value) > 0 and (not argument or where >= 0):
            rest = [part for i, part in enumerate(parts) if i != where % len(parts)]
            lines.setdefault("/".join(rest), []).append((int(value), case.main()))
    lines = {line: sorted(points, key=lambda p: p[0]) for line, points in lines.items() if len(points) >= 3}
    common = set.intersection(*(set(line.split("/")) for line in lines)) if len(lines) > 1 else set()
    return {"/".join(part for part in line.split("/") if part not in common): points for line, points in lines.items()}


def write_plot(program, about, path):
    """Lines where there are sizes, dots with their ranges otherwise. False: no plot."""
    cases = [case for case in program.cases.values() if case.samples and case.main().median > 0]
    unit = collections.Counter(case.main().unit for case in cases).most_common(1)[0][0] if cases else ""
    cases = [case for case in cases if case.main().unit == unit]
    if len(cases) < 2:
        return False
    import matplotlib

    matplotlib.use("svg")
    # Text stays text and names are reproducible, so that a change of figures is all that a diff shows.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "jobcore", "font.size": 9})
    from matplotlib import pyplot, ticker

    lines = lines_over(cases, about.get("plot_over"))
    if lines:
        figure, axes = pyplot.subplots(figsize=(7, 3.5))
        for line, points in lines.items():
            middle = [sample.median for _, sample in points]
            ranges = [[sample.median - sample.low for _, sample in points],
                      [sample.high - sample.median for _, sample in points]]
            axes.errorbar([x for x, _ in points], middle, yerr=ranges, marker="o", markersize=3, label=line)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(about.get("plot_over", ""))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: show(y, unit)))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: digits(x)))
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    else:
        figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.28 * len(cases)))
        for row, case in enumerate(cases):
            sample = case.main()
            axes.plot([sample.low, sample.high], [row, row], color="C0", linewidth=1)
            axes.plot([sample.median], [row], color="C0", marker="o", markersize=4)
        axes.set_yticks(range(len(cases)), [case.name for case in cases])
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: show(x, unit)))
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            low, high = axis.get_view_interval()
            axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
        axis.set_minor_locator(ticker.NullLocator())
    axes.grid(True, linewidth=0.4)
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    return True


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    description = json.loads((HERE / "targets.json").read_text())
    programs = load(source, description["programs"])
    if not programs:
        sys.exit(f"no results in {source}")
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("*.svg"):
        old.unlink()
    parts = [
        "# Benchmarks\n\nWritten by `./dev bench`; [how to read this](../README.md). Figures of one run on one machine: "
        "compare within a table, not between runs.\n",
        machine_section(programs, source),
        targets_section(description["targets"], programs),
    ]
    for program in programs.values():
        plot = f"{program.name}.svg"
        about = description["programs"].get(program.name, {})
        drawn = write_plot(program, about, output / plot)
        parts.append(program_section(program, about, plot if drawn else None))
    model = source / "queueing_model.md"
    if model.exists():
        question = description["programs"]["queueing_model"]["question"]
        parts.append(f"## queueing_model\n\n{question}\n\n{model.read_text()}")
    (output / "README.md").write_text("\n".join(parts))
    print(f"{output / 'README.md'}: {len(programs)} programs")


if __name__ == "__main__":
    main()
