"""The campaign directory: every file name once, the dataset, the lock."""
