"""How it stands with disks that move to other drivers, in words."""

from protos import operator_pb2 as operator


def outcome(migration: operator.Migration) -> str:
    """What became of one that has ended, in one line."""
    device = migration.device
    if migration.state == operator.MIGRATION_DONE:
        return (
            f"{device}: {migration.old} → {migration.new}, copied in {migration.for_s:.1f} s, "
            f"longest pause {migration.pause_ms:.1f} ms"
        )
    if migration.state == operator.MIGRATION_ABORTED:
        return f"{device} keeps its driver: the copy was ended"
    return f"{device} has not moved: {migration.problem}"


def stage_text(migration: operator.Migration) -> str:
    """Of one that is under way."""
    if migration.state == operator.MIGRATION_PIVOTING:
        return "copied, the new driver takes over"
    if migration.state == operator.MIGRATION_ABORTING:
        return "ended, the old driver takes over again"
    share = 100 * migration.done // migration.total if migration.total else 0
    return f"{share} %"
