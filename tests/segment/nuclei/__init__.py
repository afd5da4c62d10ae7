"""Tests of nuclei without labels."""
