"""Tests of every package; the folders mirror the tree."""
