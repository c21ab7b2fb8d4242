"""The report: one HTML file about finished runs, and every figure that the toolkit draws."""
