"""Tests of the host runtime."""
