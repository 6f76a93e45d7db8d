"""Decisions about messages, each a function of what was said so far, without I/O."""
