"""A made-up person benchmark with captions: drawn people, six cameras, Market-1501's layout."""

from resight.data.sample.files import SampleCounts, make_sample

__all__ = ["SampleCounts", "make_sample"]
