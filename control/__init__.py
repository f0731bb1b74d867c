"""The core's own gRPC service: what its launcher asks of it, and what it tells."""
