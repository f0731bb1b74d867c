"""The launcher: machines, images, supervision, and the command line."""
