"""What our JSON files say: values without verbs."""
