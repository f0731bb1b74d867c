"""The scheduler, its pCPUs and the accounts of vCPUs as tables and words for people."""

from rich.table import Table

from protos import core_pb2 as core
from protos import operator_pb2 as operator
from splitvisor.cli.render import table
from splitvisor.units import format_duration


def vcpus_table(machine: operator.MachineStatus) -> Table:
    """One line per vCPU: where it is and where its time went."""
    columns = ("run", "steal", "halted", "switches")
    rows = table(("vcpu", "state", "pcpu", *columns, "exits by reason"), right=("pcpu", *columns))
    for guest in machine.guests:
        for vcpu in guest.vcpus:
            rows.add_row(
                f"{guest.name}/{vcpu.index}",
                vcpu.state,
                _pcpu(vcpu),
                *(seconds(ns) for ns in (vcpu.run_ns, vcpu.wait_ns, vcpu.halted_ns)),
                f"{vcpu.switches:,}",
                exits_text(vcpu),
            )
    return rows


def schedules_table(machine: operator.MachineStatus) -> Table:
    """One line per vCPU: what was said of it, and what it got."""
    columns = ("weight", "cap", "budget", "period", "affinity")
    times = ("run", "share", "steal", "halted", "switches")
    rows = table(("vcpu", "state", "pcpu", *columns, *times), right=("pcpu", *columns, *times))
    for guest in machine.guests:
        for vcpu in guest.vcpus:
            said = vcpu.schedule
            spent = (vcpu.run_ns, vcpu.wait_ns, vcpu.halted_ns, vcpu.blocked_ns, vcpu.paused_ns)
            rows.add_row(
                f"{guest.name}/{vcpu.index}",
                vcpu.state,
                _pcpu(vcpu),
                str(said.weight),
                f"{said.cap} %" if said.cap else "-",
                format_duration(said.budget_ns) if said.budget_ns else "-",
                format_duration(said.period_ns) if said.period_ns else "-",
                ",".join(map(str, said.affinity)) or "all",
                seconds(vcpu.run_ns),
                f"{100 * vcpu.run_ns / (sum(spent) or 1):.1f} %",
                seconds(vcpu.wait_ns),
                seconds(vcpu.halted_ns),
                f"{vcpu.switches:,}",
            )
    return rows


def pcpus_table(machine: operator.MachineStatus) -> Table:
    """One line per pCPU."""
    rows = table(("pcpu", "host cpu", "busy", "switches", "running"), right=("busy", "switches"))
    for pcpu in machine.scheduler.pcpus:
        rows.add_row(
            str(pcpu.index),
            str(pcpu.host_cpu),
            seconds(pcpu.busy_ns),
            f"{pcpu.switches:,}",
            pcpu.running or "-",
        )
    return rows


def scheduler_title(machine: operator.MachineStatus) -> str:
    """Which machine, and who decides in it."""
    scheduler = machine.scheduler
    others = ", ".join(name for name in scheduler.policies if name != scheduler.policy)
    return (
        f"machine {machine.name}: policy {scheduler.policy} ({others} are there too), "
        f"slice {format_duration(scheduler.slice_ns)}"
    )


def schedule_text(said: core.Schedule) -> str:
    """What was said of a vCPU, in words."""
    words = [f"weight {said.weight}", f"cap {said.cap} %" if said.cap else "no cap"]
    if said.budget_ns:
        budget, period = format_duration(said.budget_ns), format_duration(said.period_ns)
        words.append(f"{budget} in every {period}")
    pcpus = ", ".join(map(str, said.affinity))
    return ", ".join([*words, f"on pCPU {pcpus}" if pcpus else "on all pCPUs"])


def account_text(vcpu: core.VcpuStatus) -> str:
    """Where a vCPU's time went, in words."""
    return (
        f"{vcpu.state}, run {seconds(vcpu.run_ns)}, steal {seconds(vcpu.wait_ns)}, "
        f"halted {seconds(vcpu.halted_ns)}, {vcpu.switches:,} switches, {exits_text(vcpu)}"
    )


def exits_text(vcpu: core.VcpuStatus) -> str:
    """The reasons that occurred, the most frequent first."""
    found = sorted(vcpu.exits_by_reason.items(), key=lambda item: -item[1])
    return " ".join(f"{reason} {count:,}" for reason, count in found if count)


def seconds(ns: int) -> str:
    """Nanoseconds as seconds."""
    return f"{ns / 1e9:,.2f} s"


def _pcpu(vcpu: core.VcpuStatus) -> str:
    return str(vcpu.pcpu) if vcpu.HasField("pcpu") else "-"
