"""What `nn` refuses. It is a `ValueError`, because this room imports nothing of ours."""


class TrainingError(ValueError):
    """Data, shapes or settings that training cannot work with; the message says what to do."""
