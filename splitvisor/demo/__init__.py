"""The main job, live: guests on a real disk, and the process with the drivers killed under them."""
