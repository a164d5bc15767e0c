"""What networks cost, by architecture and in a solve."""
