"""Where requests of devices go: to a service OS by gRPC, or no further than this process."""
