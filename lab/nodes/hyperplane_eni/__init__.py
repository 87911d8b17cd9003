"""The Hyperplane ENI."""
