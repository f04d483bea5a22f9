"""Tests of what traces tell: critical paths, bottlenecks, recoveries, comparisons, estimates."""
