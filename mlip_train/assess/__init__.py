"""Is this potential good: errors beside the parent's, checks, the gate."""
