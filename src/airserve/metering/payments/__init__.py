"""Payment providers: what was used is told to them, so that they can charge for it. Card data never comes here."""
