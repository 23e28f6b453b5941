# SPDX-License-Identifier: GPL-2.0-or-later
"""A busy migration as SVG: what is left, what is written and carried, how much
the guest is slowed. From what busy.py recorded; nothing is smoothed."""
import math

MIB = 1 << 20
WIDTH, LEFT, RIGHT = 860, 62, 150
PANELS = (150, 150, 90)        # heights
TOP, GAP, BOTTOM = 74, 44, 44

# on a card of its own, so that it can be read on any page
STYLE = '''
.card{fill:#ffffff;stroke:#d0d7de}
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#24292f}
.title{font-size:15px;font-weight:600}.head{font-weight:600}
.dim,.tick{fill:#57606a}.tick{font-size:11px}
.grid{stroke:#e3e7ec;fill:none}.axis{stroke:#8c959f;fill:none}
.round{stroke:#8c959f;stroke-dasharray:2 3;fill:none}
.pause{fill:#cf222e;fill-opacity:.75}.pausetext{fill:#b31d28}
.a,.b{fill:none;stroke-width:2;stroke-linejoin:round}
.a{stroke:#0969da}.b{stroke:#bc4c00}
.fa{fill:#0969da;fill-opacity:.16}.fb{fill:#bc4c00;fill-opacity:.16}
.ta{fill:#0757b4}.tb{fill:#a04100}
@media (prefers-color-scheme:dark){
.card{fill:#0d1117;stroke:#3d444d}text{fill:#e6edf3}
.dim,.tick{fill:#9da7b3}.grid{stroke:#252b33}.axis,.round{stroke:#6e7781}
.pause{fill:#ff7b72}.pausetext{fill:#ff9a93}
.a{stroke:#58a6ff}.b{stroke:#f0883e}
.fa{fill:#58a6ff;fill-opacity:.2}.fb{fill:#f0883e;fill-opacity:.2}
.ta{fill:#79b8ff}.tb{fill:#ffa657}}
'''


def ticks(top, most=5):
    """Round numbers from 0 to at least @top, @most + 1 of them or fewer."""
    if top <= 0:
        return [0, 1]
    step = 10 ** math.floor(math.log10(top / most))
    step *= next(k for k in (1, 2, 2.5, 5, 10, 20) if top <= k * step * most)
    return [i * step for i in range(math.ceil(top / step - 1e-9) + 1)]


def rounds(samples):
    """[(from, to, dirty rate, bandwidth), ...]. What is first reported with
    the number of a round was measured in it, up to then."""
    out, begin, number = [], None, 0
    for s in samples:
        if begin is None and 'copy' in s['stage']:
            begin = s['t']
        if s['round'] > number and s['stage'] == 'iterative pre-copy':
            out.append((begin, s['t'], s['dirty_rate'], s['bandwidth']))
            begin, number = s['t'], s['round']
    return out


def pause(seen):
    """(from, to, ms): where the samples have it, and as it was reported."""
    at = [s['t'] for s in seen['samples']
          if s['stage'] in ('stop-and-copy', 'commitment')]
    ms = seen['report']['x-job']['downtime-us'] / 1e3
    end = seen['samples'][-1]['t']
    begin = at[0] if at else end - ms / 1e3
    return begin, begin + ms / 1e3, ms


class Panel:
    """One plot: @top is its upper edge, @end what the time goes to."""

    def __init__(self, top, height, end, most):
        self.top, self.height, self.end = top, height, end
        self.ticks = ticks(most)
        self.most = self.ticks[-1]

    def x(self, t):
        return LEFT + (WIDTH - LEFT - RIGHT) * t / self.end

    def y(self, value):
        return self.top + self.height * (1 - value / self.most)

    def points(self, series):
        return ' '.join(f'{self.x(t):.1f},{self.y(v):.1f}' for t, v in series)

    def line(self, name, series):
        return f'<polyline class="{name}" points="{self.points(series)}"/>'

    def area(self, name, series):
        ends = [(series[0][0], 0), *series, (series[-1][0], 0)]
        return (f'<polygon class="f{name}" points="{self.points(ends)}"/>'
                + self.line(name, series))

    def frame(self, head):
        right = WIDTH - RIGHT
        out = [text(LEFT, self.top - 9, head, 'head')]
        for v in self.ticks:
            y = self.y(v)
            name = 'axis' if v == 0 else 'grid'
            out.append(f'<path class="{name}" d="M{LEFT} {y:.1f}H{right}"/>')
            out.append(text(LEFT - 7, y + 4, f'{v:g}', 'tick', 'end'))
        return out

    def upright(self, name, t):
        return (f'<path class="{name}" d="M{self.x(t):.1f} {self.top}'
                f'v{self.height}"/>')


def text(x, y, words, name='', anchor='start'):
    words = words.replace('&', '&amp;').replace('<', '&lt;')
    return (f'<text class="{name}" x="{x:.1f}" y="{y:.1f}" '
            f'text-anchor="{anchor}">{words}</text>')


def steps(samples, value):
    """As it was sampled: it stays until the next sample says otherwise."""
    out = []
    for s in samples:
        if out and out[-1][1] != value(s):
            out.append((s['t'], out[-1][1]))
        out.append((s['t'], value(s)))
    return out


def legend(panel, *lines):
    """(class, words, ...), beside the panel."""
    out, y = [], panel.top + 12
    x = WIDTH - RIGHT + 14
    for name, *words in lines:
        out.append(f'<path class="{name}" d="M{x} {y - 4}h18"/>')
        for word in words:
            out.append(text(x + 24, y, word, 't' + name))
            y += 15
        y += 6
    return out


def panels(seen):
    """What there is to show, as [(head, most, draw), ...]."""
    samples, trips = seen['samples'], rounds(seen['samples'])
    left = [(s['t'], s['remaining'] / MIB) for s in samples]
    dirty = [(t, d / MIB) for a, b, d, _ in trips for t in (a, b)]
    carried = [(t, w / MIB) for a, b, _, w in trips for t in (a, b)]
    slow = steps(samples, lambda s: s['throttle'])
    return [
        ('Memory that is left to send, MiB', max(v for _, v in left),
         lambda p: [p.area('a', left), *legend(p, ('a', 'remaining'))]),
        ('By round, MiB/s', max(v for _, v in dirty + carried),
         lambda p: [p.line('a', carried), p.line('b', dirty),
                    *legend(p, ('b', 'dirtied by', 'the guest'),
                            ('a', 'carried by', 'the link'))]),
        ('What the guest is slowed by, percent', 100,
         lambda p: [p.area('b', slow), *legend(p, ('b', 'throttle'))]),
    ]


def mark_pause(panel, seen, first):
    begin, end, ms = pause(seen)
    x = panel.x(begin)
    wide = max(panel.x(end) - x, 2)
    out = [f'<rect class="pause" x="{x:.1f}" y="{panel.top}" '
           f'width="{wide:.1f}" height="{panel.height}"/>']
    if first:
        out.append(text(x + wide, panel.top - 9, f'pause {ms:.0f} ms',
                        'pausetext', 'end'))
    return out


def title(seen):
    job = seen['report']['x-job']
    return [
        text(20, 27, f'A guest of {seen["ram_mib"] // 1024} GiB that keeps '
             f'writing {seen["ws_mib"]} MiB as fast as it can moves over a '
             f'link of {seen["limit"] // MIB} MiB/s', 'title'),
        text(20, 46, f'{len(rounds(seen["samples"]))} rounds in '
             f'{job["time-elapsed-us"] / 1e6:.1f} s, pause {pause(seen)[2]:.0f}'
             f' ms ({seen["downtime_ms"]} ms were asked for), throttle up to '
             f'{job["most-throttle"]} %; query-migrate, every '
             f'{seen["every_ms"]} ms', 'dim'),
    ]


def draw(seen):
    """The whole picture."""
    end = seen['samples'][-1]['t']
    trips = rounds(seen['samples'])
    out, top = title(seen), TOP
    for (head, most, content), height in zip(panels(seen), PANELS):
        panel = Panel(top + 14, height, end, most)
        out += panel.frame(head)
        out += [panel.upright('round', b) for _, b, *_ in trips]
        out += mark_pause(panel, seen, top == TOP)
        out += content(panel)
        top += 14 + height + GAP - 14
    for t in ticks(end, 9):
        if t <= end:
            out.append(text(panel.x(t), panel.top + panel.height + 17,
                            f'{t:g} s', 'tick', 'middle'))
    out.append(text(LEFT, panel.top + panel.height + 36,
                    'dotted: a round ends, what was dirtied meanwhile is left',
                    'dim'))
    high = panel.top + panel.height + BOTTOM
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
            f'height="{high}" viewBox="0 0 {WIDTH} {high}">\n'
            f'<style>{STYLE}</style>\n<rect class="card" x=".5" y=".5" '
            f'width="{WIDTH - 1}" height="{high - 1}" rx="8"/>\n'
            + '\n'.join(out) + '\n</svg>\n')
