"""The B-basis, its projections and normal equations, solutions and active sets."""
