"""Machines for tests: started, disturbed, watched and taken down again."""
