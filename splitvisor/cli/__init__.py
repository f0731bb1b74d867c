"""The command line, `splitvisor`: one file per command, and what they share."""
