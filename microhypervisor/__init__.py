"""The core: schedules vCPUs and isolates memory, and nothing else."""
