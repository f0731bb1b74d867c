"""Device models: the half of each device that knows what kind it is."""
