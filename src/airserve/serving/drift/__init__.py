"""Whether inputs and answers still look like the training sample: what was seen lately, held against a baseline."""
