"""What a CPU back end is, and which one a guest gets."""
