"""Guest RAM, and the one window through which a part of it is shared."""
