"""The service OS: device models and drivers, in a process that may die at any time."""
