"""What Prometheus learns of the scorer beside its HTTP traffic."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class ScorerMetrics:
    """Counters of the cache and of the requests inside."""

    def __init__(self) -> None:
        self.lookups = Counter(
            "scorer_cache_lookups", "Responses looked up in the score cache", ("result",), registry=None
        )
        self.inside = Gauge("scorer_requests_inside", "Requests that are scored or wait for it", registry=None)

    def register(self, registry: CollectorRegistry) -> None:
        """Show the counters at the /metrics of a process."""
        registry.register(self.lookups)
        registry.register(self.inside)

    def count_lookups(self, hits: int, misses: int) -> None:
        """Count responses that the cache held, and those that it did not."""
        self.lookups.labels("hit").inc(hits)
        self.lookups.labels("miss").inc(misses)
