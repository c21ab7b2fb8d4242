"""The formulas of the toolkit in NumPy alone, written a second time to check the first."""
