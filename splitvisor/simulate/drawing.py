"""The timeline of a simulation as an SVG: a lane for each pCPU, and a row for each vCPU.

The lanes answer who had a pCPU when; the rows answer what each vCPU had of it: a bar where it ran,
a thin line where it waited, nothing where it slept. Colours are those of Okabe and Ito, which
people with any colour vision can tell apart; they come again, paler, from the ninth vCPU on. The
style sheet follows the reader's light or dark scheme.
"""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from splitvisor.errors import UserError
from splitvisor.simulate.record import Record
from splitvisor.simulate.report import runs
from splitvisor.simulate.scenario import Scenario

MAX_INTERVALS = 20_000  # some 2 MB, and more than one to a pixel
_WIDTH, _LEFT, _RIGHT, _TOP = 1000, 120, 36, 86
_LANE, _ROW, _GAP = 38, 22, 20
_CHARACTER = 7.2  # pixels that one takes at most
_NAME = 14  # characters of a name that are shown
_COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"),
)
_DARK = (0, 5)  # colours that bear white text
_UNITS = ((10**9, "s"), (10**6, "ms"), (10**3, "us"), (1, "ns"))

_STYLE = """
    .paper { fill: #ffffff } .ink { fill: #1a1f29 } .faint { fill: #5c6470 }
    .grid { stroke: #d9dde3 } .edge { stroke: #1a1f29; fill: none } .lane { fill: #f2f4f7 }
    .wait { stroke: #5c6470; stroke-width: 1.5 } .wake { fill: #1a1f29 }
    .miss { stroke: #c8102e; stroke-width: 2 } .change { stroke: #5c6470; stroke-dasharray: 4 3 }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #14181f } .ink { fill: #e8ebf0 } .faint { fill: #a4acb8 }
      .grid { stroke: #333a45 } .edge { stroke: #e8ebf0 } .lane { fill: #1e242d }
      .wait { stroke: #a4acb8 } .wake { fill: #e8ebf0 } .miss { stroke: #ff6b7d }
      .change { stroke: #a4acb8 }
    }
"""


def draw(record: Record, scenario: Scenario, title: str) -> str:
    """The window of `record`; UserError if there is more in it than a picture can show."""
    if len(record.intervals) > MAX_INTERVALS:
        raise UserError(
            f"these are {len(record.intervals):,} intervals, too many for a picture: "
            "choose a shorter window with --from and --to"
        )
    return "\n".join(_Drawing(record, scenario, title).parts())


class _Drawing:
    def __init__(self, record: Record, scenario: Scenario, title: str) -> None:
        self.record, self.scenario, self.title = record, scenario, title
        shown = {interval.vcpu for interval in record.intervals}
        self.names = [name for name in record.vcpus if name in shown]
        self.colours = {name: i for i, name in enumerate(record.vcpus)}
        self.rows_top = _TOP + _LANE * len(record.pcpus) + _GAP
        self.bottom = self.rows_top + _ROW * len(self.names)
        self.height = self.bottom + 70

    def parts(self) -> Iterator[str]:
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {self.height}" '
            f'width="{_WIDTH}" height="{self.height}" font-size="12"\n'
            '     font-family="DejaVu Sans, Verdana, Helvetica, sans-serif">'
        )
        yield f"  <title>{escape(self.title)}</title>\n  <style>{_STYLE}  </style>"
        yield f'  <rect class="paper" width="{_WIDTH}" height="{self.height}" rx="10"/>'
        yield self.text(24, 32, self.title, "ink", 'font-size="16" font-weight="bold"')
        yield self.text(24, 52, self.subtitle(), "faint")
        yield from self.axis()
        yield from self.lanes()
        yield from self.rows()
        yield from self.changes()
        yield from self.legend()
        yield "</svg>\n"

    def subtitle(self) -> str:
        count = len(self.record.pcpus)
        slice_text = _time(self.scenario.slice_ns, *_unit(self.scenario.slice_ns))
        return f"policy {self.scenario.policy}, {count} pCPU{'s' * (count > 1)}, slice {slice_text}"

    def x(self, time: int) -> float:
        record = self.record
        inside = min(max(time, record.begin), record.end) - record.begin
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * inside / (record.end - record.begin)

    def y(self, name: str) -> float:
        return self.rows_top + _ROW * self.names.index(name) + _ROW / 2

    def axis(self) -> Iterator[str]:
        begin, end = self.record.begin, self.record.end
        step = _step(end - begin)
        unit = _unit(step)
        for time in range(-(-begin // step) * step, end + 1, step):
            x = self.x(time)
            yield (
                f'  <line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{self.bottom}"/>'
            )
            label = _time(time, *unit)
            yield self.text(x, self.bottom + 18, label, "faint", 'text-anchor="middle"')

    def lanes(self) -> Iterator[str]:
        for i in range(len(self.record.pcpus)):
            y = _TOP + _LANE * i
            yield (
                f'  <rect class="lane" x="{_LEFT}" y="{y + 3}" '
                f'width="{_WIDTH - _LEFT - _RIGHT}" height="{_LANE - 6}"/>'
            )
            yield self.text(
                _LEFT - 10,
                y + _LANE / 2 + 4,
                f"pCPU {i}",
                "ink",
                'text-anchor="end" font-weight="bold"',
            )
        for run in runs(self.record):
            y = _TOP + _LANE * (run.pcpu or 0)
            yield self.bar(run.vcpu, run.start, run.end, y + 3, _LANE - 6)
            width = self.x(run.end) - self.x(run.start)
            if width >= _CHARACTER * len(run.vcpu) + 4:
                white = self.colours[run.vcpu] in _DARK
                middle = (self.x(run.start) + self.x(run.end)) / 2
                yield (
                    f'  <text x="{middle:.1f}" y="{y + _LANE / 2 + 4}" text-anchor="middle" '
                    f'fill="{"#ffffff" if white else "#10141a"}">{escape(run.vcpu)}</text>'
                )

    def rows(self) -> Iterator[str]:
        for name in self.names:
            half = _NAME // 2
            short = name if len(name) <= _NAME else f"{name[: half - 1]}\u2026{name[-half:]}"
            yield self.text(_LEFT - 10, self.y(name) + 4, short, "ink", 'text-anchor="end"')
        for interval in self.record.intervals:
            y = self.y(interval.vcpu)
            if interval.pcpu is None:
                yield self.line("wait", self.x(interval.start), y, self.x(interval.end), y)
            else:
                yield self.bar(interval.vcpu, interval.start, interval.end, y - 6, 12)
        for time, name in self.record.wakes:
            if name in self.names:
                yield _wake(self.x(time), self.y(name) + 10)
        for time, name in self.record.misses:
            if name in self.names:
                yield self.cross(self.x(time), self.y(name))

    def changes(self) -> Iterator[str]:
        for change in self.scenario.changes:
            if self.record.begin <= change.at <= self.record.end:
                x = self.x(change.at)
                yield self.line("change", x, _TOP - 8, x, self.bottom)
                anchor = "end" if x > _WIDTH * 0.75 else "start"
                yield self.text(x, _TOP - 13, change.label, "faint", f'text-anchor="{anchor}"')

    def legend(self) -> Iterator[str]:
        y = self.bottom + 46
        x = float(_LEFT)
        yield f'  <rect x="{x}" y="{y - 6}" width="24" height="12" fill="{_COLOURS[0]}"/>'
        yield self.text(x + 32, y + 4, "runs", "ink")
        yield self.line("wait", x + 90, y, x + 114, y)
        yield self.text(x + 122, y + 4, "waits for a pCPU", "ink")
        if self.record.wakes:
            yield _wake(x + 270, y + 4)
            yield self.text(x + 284, y + 4, "wakes, or has more work", "ink")
        if self.record.misses:
            yield self.cross(x + 476, y)
            yield self.text(x + 490, y + 4, "misses a deadline", "ink")

    def bar(self, name: str, start: int, end: int, y: float, height: float) -> str:
        colour = self.colours[name]
        pale = ' fill-opacity="0.55"' if colour >= len(_COLOURS) else ""
        x = self.x(start)
        return (
            f'  <rect x="{x:.2f}" y="{y}" width="{self.x(end) - x:.2f}" height="{height}" '
            f'fill="{_COLOURS[colour % len(_COLOURS)]}"{pale}/>'
        )

    def text(self, x: float, y: float, text: str, kind: str, more: str = "") -> str:
        return f'  <text class="{kind}" x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'

    def line(self, kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
        return f'  <line class="{kind}" x1="{x1:.2f}" y1="{y1}" x2="{x2:.2f}" y2="{y2}"/>'

    def cross(self, x: float, y: float) -> str:
        return f'  <path class="miss" d="M{x - 4:.1f} {y - 4} l8 8 m0 -8 l-8 8"/>'


def _wake(x: float, y: float) -> str:
    return f'  <path class="wake" d="M{x:.1f} {y - 7} l3.5 7 h-7 z"/>'


def _step(span: int) -> int:
    """A round number of nanoseconds of which about ten make the span."""
    power: int = 1
    while power * 100 <= span:
        power *= 10
    return next(m * power for m in (1, 2, 5, 10, 20, 50, 100) if span <= 12 * m * power)


def _unit(time: int) -> tuple[int, str]:
    """The largest unit that `time` is a whole number of, or a nanosecond."""
    return next((u for u in _UNITS if time and time % u[0] == 0), _UNITS[-1])


def _time(time: int, factor: int, unit: str) -> str:
    return f"{time // factor} {unit}"
