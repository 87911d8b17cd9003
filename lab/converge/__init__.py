"""From the plan of a lab that is up to the plan that is wanted: the difference, what it breaks, and applying it."""
