"""The parent of the other processes: starts them, watches them, buries them, starts them again."""
