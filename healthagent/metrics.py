"""What is published, for Prometheus: text or OpenMetrics, made from the board when it is scraped.

A registry of its own: prometheus_client's global one holds what others may register there.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, chain

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Sample

from healthagent import __version__, clock, families
from healthagent.board import Board
from healthagent.families import Family, Kind, Samples
from healthagent.measures import measures
from healthagent.mysqld_names import mysqld_measures
from healthagent.tally import BUCKETS, Tally

__all__ = ["Metrics"]

MAKERS = {Kind.COUNTER: CounterMetricFamily, Kind.GAUGE: GaugeMetricFamily, Kind.UNTYPED: UnknownMetricFamily}
EOF = b"# EOF\n"  # ends an OpenMetrics text, and each part of it that is encoded alone
BOUNDS = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
# The versions there are. Newer clients take what they find for a number, and put it into their answer.
VERSION = re.compile(r"version=(?:0\.0\.[14]|1\.0\.0)")


class _Part:
    """Some families to encode by themselves."""

    def __init__(self, *metrics: Metric) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


NOTHING = _Part()  # what an encoder puts behind all


class Metrics:
    """Answers scrapes; `tally` is where everybody counts."""

    def __init__(self, board: Board) -> None:
        self._board, self.tally = board, Tally()
        self._mysqld_names = False
        self._encoded: dict[str, dict[str, tuple[list[Sample], bytes]]] = {}
        self._whole, self._alone = CollectorRegistry(), CollectorRegistry()
        for registry in (self._whole, self._alone):
            registry.register(self)
        ProcessCollector(registry=self._whole)
        self._follow()
        board.follow(self._follow)

    def adopt(self, *, mysqld_names: bool) -> None:
        """Whether everything is told by mysqld_exporter's names, too."""
        self._mysqld_names = mysqld_names

    def loaded(self) -> None:
        """A configuration has been loaded, and is in use."""
        self.tally.loaded(time.time())

    def scrape(self, accept: str) -> tuple[str, bytes]:
        """(Content-Type, body): OpenMetrics where the Accept header asks for it, else the text format."""
        encode, content_type = choose_encoder(understood(accept))
        return content_type, self._text(self._whole, encode, content_type)

    def text(self) -> bytes:
        """The text format without process_*, which beside node_exporter's own would be about another process."""
        return self._text(self._alone, generate_latest, "")

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client. Nothing of it is kept, no `_created` is told."""
        publication = self._board.current()
        found = measures(publication, self.tally, version=__version__, now=clock.now())
        more = mysqld_measures(publication) if self._mysqld_names else ()
        for family, samples in chain(found, more):
            yield _metric(family, samples)
        yield self._durations()

    def _text(self, registry: CollectorRegistry, encode: Callable[[_Part], bytes], key: str) -> bytes:
        """`key`: of texts that this encoder has made before."""
        known = self._encoded.setdefault(key, {})
        return b"".join([*(_encoded(metric, encode, known) for metric in registry.collect()), encode(NOTHING)])

    def _follow(self) -> None:
        self.tally.follow(self._board.current())

    def _durations(self) -> Metric:
        family = families.PROBE_DURATION
        buckets = list(zip(BOUNDS, accumulate(self.tally.durations), strict=True))
        return HistogramMetricFamily(family.name, family.meaning, buckets, self.tally.duration_seconds)


def understood(accept: str) -> str:
    """The header without the entries whose version there is not."""
    entries = [entry.strip() for entry in accept.split(",")]
    return ",".join(entry for entry in entries if "version=" not in entry or _has_known_version(entry))


def _has_known_version(entry: str) -> bool:
    versions = [part.strip() for part in entry.split(";") if part.strip().startswith("version=")]
    return all(VERSION.fullmatch(version) for version in versions)


def _encoded(metric: Metric, encode: Callable[[_Part], bytes], known: dict[str, tuple[list[Sample], bytes]]) -> bytes:
    """The text of one family, as it was if nothing has changed: to encode all takes 5 ms that others would wait for."""
    found = known.get(metric.name)
    if found is None or found[0] != metric.samples:
        found = known[metric.name] = (metric.samples, encode(_Part(metric)).removesuffix(EOF))
    return found[1]


def _metric(family: Family, samples: Samples) -> Metric:
    metric: CounterMetricFamily | GaugeMetricFamily | UnknownMetricFamily
    metric = MAKERS[family.kind](family.name, family.meaning, labels=family.labels)
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric
