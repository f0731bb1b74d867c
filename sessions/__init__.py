"""What serves the devices: sessions with incarnations of service OSes, and who serves which."""
