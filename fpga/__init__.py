"""Platforms, tops and build plans for boards."""
