"""The command line: one module per verb over one list of shared options.

Verb modules import click alone; a command imports its room when it runs, so that help is instant.
"""
