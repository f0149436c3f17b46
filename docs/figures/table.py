"""Prints README.md of the figures: each beside its goal. Called by measure.sh."""

import json
import pathlib
import sys

directory, vms, some, load, commit, date, *programs = sys.argv[1:]
directory, vms, some = pathlib.Path(directory), int(vms), int(some)


def said(name):
    """What a bench said."""
    return json.loads((directory / f"{name}.json").read_text())


def number(value):
    """A number with as many digits as matter."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


class Table:
    """Rows of figures; counts the goals that are missed."""

    missed = []

    def __init__(self, title, *about):
        print(f"\n## {title}\n")
        for text in about:
            print(text + "\n")
        print("| figure | what it is | measured | goal | met |\n|---|---|--:|--:|---|")

    def row(self, key, what, value, goal=None, least=False, unit=""):
        """A figure that should be at most its goal, or at least."""
        met = ""
        if goal is not None:
            good = value >= goal if least else value <= goal
            met = "yes" if good else "**no**"
            if not good:
                Table.missed.append(key)
        bound = "" if goal is None else ("≥ " if least else "≤ ") + f"{goal:,}{unit}"
        shown = number(value) + unit if value is not None else "?"
        print(f"| `{key}` | {what} | {shown} | {bound} | {met} |")


def plot(name, what):
    print(f"\n![{what}]({name}.svg)")


vm, job, cpu, scale = said("vm"), said("job"), said("cpu"), said("scale")
memory, idle, sweep, paper = said("memory"), said("idle"), said("sweep"), said("paper")
host = vm["host"]

print("# Figures\n")
print(f"Made by `docs/figures/measure.sh` on {date}, commit {commit}.")
print(f"Host: {host['cpus']} CPUs of {host['cpu']}, Linux {host['kernel']}, {host['kvm']}; load {load} at the beginning.")
if vms != 10000:
    print(f"\n**A quick check with {vms:,} VMs: goals are for 10,000, and on a machine that does nothing else.**")

table = Table("Starts: `denali bench vm`", "Medians of jobs that read 64 bytes, dirty 16 pages and write a line.")
table.row("exit_us", "an exit from the VM and back", vm["exit_us"], unit=" µs")
table.row("process_us", "a process that says hello", vm["process_us"], unit=" µs")
table.row("reimaged_us", "a job in a VM that is put back after it", vm["reimaged_us"], unit=" µs")
table.row("new_us", "a job in a new VM, made before", vm["new_us"], unit=" µs")
table.row("reimaged_to_exit", "re-imaged, in exits", vm["reimaged_to_exit"], 2.0)
table.row("new_to_exit", "new, in exits", vm["new_to_exit"], 5)
table.row("new_total_us", "with making and destroying the VM, 100 others alive", vm["new_total_us"], 1500, unit=" µs")
table.row("reimaged_to_process", "re-imaged, in processes", vm["reimaged_to_process"], 0.15)
plot("vm", "How starts are distributed")

table = Table("Linux programs: `denali bench start`", "From the job to the end of a hello in C, against one for the Denali VM.")
denali, linux = said("start")["programs"][:2]
table.row("cold_us", "with its loading", linux["cold_us"], unit=" µs")
table.row("warm_us", "in a copy of a VM that was taken after it", linux["warm_us"], unit=" µs")
table.row("warm_us", "the same of the hello for the Denali VM", denali["warm_us"], unit=" µs")
table.row("more_exits", "what it takes more, in exits", linux["more_exits"], 3)

table = Table("Whole jobs: `denali bench job`", "A client over QUIC, a node, a worker, a VM, and a signed receipt back.")
table.row("quic_echo_us", "an echo over QUIC, median", job["quic_echo_us"], unit=" µs")
table.row("job_p50_us", "a job, median", job["job_p50_us"], unit=" µs")
table.row("job_p99_us", "a job, 99th percentile", job["job_p99_us"], unit=" µs")
table.row("job_p50_us − quic_echo_us", "what a job adds", job["job_p50_us"] - job["quic_echo_us"], 250, unit=" µs")
table.row("jobs_per_s", "jobs a second, 64 on their way", job["jobs_per_s"], 5000, least=True)
plot("job", "How jobs and echoes are distributed")

table = Table("Computing: `denali bench cpu`", "Time in a VM over time natively, of the same machine code; least times.")
for computation in cpu["computations"]:
    table.row(f"ratio: {computation['name']}", "in a VM ÷ natively", computation["ratio"], computation["goal"])
plot("cpu", "Computing in a VM against natively")

table = Table(f"Many VMs: `denali bench scale --vms {vms}`", "All in memory, each a server that waits for packets.")
table.row("answered", "VMs that answered a packet after all were made", scale["answered"], vms, least=True)
table.row("create_first_us", "to make one, first tenth", scale["create_first_us"], unit=" µs")
table.row("create_last_us", "to make one, last tenth", scale["create_last_us"], unit=" µs")
table.row("last_to_first", "last tenth ÷ first tenth", scale["last_to_first"], 1.5)
table.row("resident_kib", "memory of the host for each", scale["resident_kib"], 640, unit=" KiB")
plot("scale", "Making a VM while others live")

swap = memory["swap"]
mib = swap["memory_bytes"] >> 20
table = Table(f"Many VMs in little memory: `--memory {mib}MiB`", "Those that idle longest sleep on disk.")
table.row("asleep", "VMs on disk after all were made", swap["asleep"])
table.row("turn_answered", "VMs that answered, asked in turn", swap["turn_answered"], vms, least=True)
table.row("turn_woken_from_disk", "of these, from disk", swap["turn_woken_from_disk"])
table.row("wake_p50_us", "packet to answer in turn, median", swap["wake_p50_us"], 3000, unit=" µs")
table.row("wake_p99_us", "the same, 99th percentile", swap["wake_p99_us"], 20000, unit=" µs")
table.row("awake_p50_us", "packet to answer in memory, median", swap["awake_p50_us"], unit=" µs")
table.row("zipf_answered", "packets answered, by Zipf's law", swap["zipf_answered"], swap["zipf_requests"], least=True)
table.row("zipf_per_s", "the same, a second", swap["zipf_per_s"])
table.row("zipf_p99_us", "packet to answer by Zipf's law, 99th percentile", swap["zipf_p99_us"], unit=" µs")
table.row("asleep_bytes", "memory that a VM on disk keeps (the paper: 8,472)", swap["asleep_bytes"], 8472, unit=" bytes")
plot("memory", "From a packet to its answer, in memory and from disk")

table = Table(f"Idle: `denali bench scale --vms {some} --idle`")
table.row("cpu_percent", "CPU time of all workers while all VMs idle", idle["idle"]["cpu_percent"], 2, unit=" % of one CPU")

print(f"\n## Less and less memory: `denali bench scale --vms {some} --sweep`\n")
print("Packets by Zipf's law. The paper's web servers kept their throughput while they fitted into memory; then the disk bounded it.\n")
print("| memory, of what all need | packets a second | median | 99th percentile | from disk |\n|--:|--:|--:|--:|--:|")
for budget in sweep["sweep"]:
    columns = [number(budget[key]) for key in ("per_s", "p50_us", "p99_us", "from_disk")]
    print("| {} % | {} | {} µs | {} µs | {} |".format(budget["percent"], *columns))
plot("sweep", "Throughput and latency against memory")

print("\n## The paper's mechanisms: `denali bench paper`\n")
print(f"Each switched off in turn: packets to one VM, and requests to {paper['vms']} VMs, a second.\n")
print("| mechanism | packets with | without | ratio | requests with | without | ratio | the paper | direction as there |")
print("|---|--:|--:|--:|--:|--:|--:|---|---|")
for mechanism in paper["mechanisms"]:
    keys = ("packets_per_s", "packets_per_s_without", "packets_ratio", "served_per_s", "served_per_s_without", "served_ratio")
    columns = [number(mechanism[key]) for key in keys]
    met = "yes" if mechanism["as_in_paper"] else "**no**"
    if not mechanism["as_in_paper"]:
        Table.missed.append(mechanism["name"])
    print("| {} | {} | {} | {} |".format(mechanism["name"], " | ".join(columns), mechanism["paper"], met))
plot("paper", "What the paper's mechanisms are worth")

table = Table("System calls of Linux programs: `denali bench syscall`", "In a VM, against the same program on the host; medians.")
for call in said("syscall")["calls"]:
    what = f"{number(call['guest_ns'])} ns, on the host {number(call['native_ns'])} ns: times faster"
    table.row(call["name"], what, call["times_faster"], call["goal"], least=True)

if programs:
    about = "The planets' paths in Go (four goroutines on one CPU) and Python, starting included; least times of 7 runs."
    table = Table("Linux programs that compute: `denali bench program`", about)
    for name in programs:
        program = said(f"program-{name}")
        what = f"{number(program['guest_ms'])} ms in a VM ÷ {number(program['native_ms'])} ms on the host"
        table.row(f"ratio: {name}", what, program["ratio"], 1.02)
        table.row(f"faults: {name}", "exits for system calls that trapped, and other faults", program["faults"], 0)

print("\n" + ("Missed: " + ", ".join(f"`{key}`" for key in Table.missed) + "." if Table.missed else "All goals are met."))
