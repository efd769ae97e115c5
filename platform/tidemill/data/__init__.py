"""Source files become typed, checked, versioned tables."""
