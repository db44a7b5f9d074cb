"""Everything that knows the engine."""
