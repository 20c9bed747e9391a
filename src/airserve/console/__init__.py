"""The web console; its room, still empty."""
