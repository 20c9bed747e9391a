"""Rollouts as the catalog knows them: what was asked for, how far each is, what was counted and decided."""
