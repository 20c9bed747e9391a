"""A call's way through: gate -> queue -> batch -> engine -> meter."""
