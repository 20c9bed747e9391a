"""What everyone may import: calls and replies, tensors, deadlines and the one error family."""
