"""Campaigns of faults against a load that judges every answer."""
