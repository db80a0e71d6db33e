"""Untrusted programs, run in isolation and judged from outside."""
