"""The contracts between the processes; `*_pb2*` modules are generated from the .proto files."""
