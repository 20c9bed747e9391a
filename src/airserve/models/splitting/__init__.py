"""Where to cut a model in two, so that a device runs the head and the cloud the tail; `airserve split`."""
