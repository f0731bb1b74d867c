"""A histogram of latencies as an SVG: bars on a logarithmic axis of time.

The style sheet follows the reader's light or dark scheme; lines mark the median and the 99th
percentile.
"""

from collections.abc import Iterable, Iterator
from math import log10
from xml.sax.saxutils import escape

from splitvisor.checks.latency import Bucket, Summary, buckets, show, summarize

_WIDTH, _HEIGHT = 760, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 28, 84, 262
_STYLE = """
    .paper { fill: #ffffff } .ink { fill: #1a1f29 } .faint { fill: #5c6470 }
    .grid { stroke: #d9dde3 } .bar { fill: #0072b2 } .mark { stroke: #d55e00; stroke-width: 1.5 }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #14181f } .ink { fill: #e8ebf0 } .faint { fill: #a4acb8 }
      .grid { stroke: #333a45 } .bar { fill: #56b4e9 } .mark { stroke: #e69f00 }
    }
"""


def draw(microseconds: Iterable[float], title: str) -> str:
    """The whole picture; without any latency, one that says so."""
    values = list(microseconds)
    return "\n".join(_Drawing(buckets(values), summarize(values), title).parts())


class _Drawing:
    def __init__(self, found: list[Bucket], summary: Summary, title: str) -> None:
        self._buckets, self._summary, self._title = found, summary, title
        self._begin = log10(found[0].begin) if found else 0.0
        self._end = log10(found[-1].end) if found else 1.0
        self._highest = max((bucket.count for bucket in found), default=1)

    def parts(self) -> Iterator[str]:
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            f'width="{_WIDTH}" height="{_HEIGHT}" font-size="12"\n'
            '     font-family="DejaVu Sans, Verdana, Helvetica, sans-serif">'
        )
        yield f"  <title>{escape(self._title)}</title>\n  <style>{_STYLE}  </style>"
        yield f'  <rect class="paper" width="{_WIDTH}" height="{_HEIGHT}" rx="10"/>'
        yield _text(24, 30, self._title, "ink", 'font-size="16" font-weight="bold"')
        yield _text(24, 50, str(self._summary), "faint")
        yield from self._counts()
        for bucket in self._buckets:
            yield self._bar(bucket)
        yield from self._times()
        if self._summary.count:
            yield from self._mark(self._summary.p50, "p50", "end")
            yield from self._mark(self._summary.p99, "p99", "start")
        yield "</svg>\n"

    def _x(self, microseconds: float) -> float:
        part = (log10(max(microseconds, 1)) - self._begin) / (self._end - self._begin)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(part, 0), 1)

    def _y(self, count: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * count / self._highest

    def _bar(self, bucket: Bucket) -> str:
        x, y = self._x(bucket.begin), self._y(bucket.count)
        width = self._x(bucket.end) - x - 1
        return (
            f'  <rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{_BOTTOM - y:.1f}"/>'
        )

    def _counts(self) -> Iterator[str]:
        for count in sorted({0, self._highest // 2, self._highest}):
            y = self._y(count)
            yield f'  <path class="grid" d="M{_LEFT} {y:.1f} H{_WIDTH - _RIGHT}"/>'
            yield _text(_LEFT - 8, y + 4, f"{count:,}", "faint", 'text-anchor="end"')

    def _times(self) -> Iterator[str]:
        edges = [bucket.begin for bucket in self._buckets]
        edges += [bucket.end for bucket in self._buckets[-1:]]
        for edge in edges[:: -(-len(edges) // 9) or 1]:
            yield _text(self._x(edge), _BOTTOM + 20, show(edge), "faint", 'text-anchor="middle"')

    def _mark(self, microseconds: float, name: str, anchor: str) -> Iterator[str]:
        x = self._x(microseconds)
        yield f'  <path class="mark" d="M{x:.1f} {_TOP - 8} V{_BOTTOM}"/>'
        yield _text(x, _TOP - 13, name, "ink", f'text-anchor="{anchor}"')


def _text(x: float, y: float, text: str, kind: str, more: str = "") -> str:
    return f'  <text class="{kind}" x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'
