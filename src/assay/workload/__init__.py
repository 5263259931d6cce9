"""What is asked of a deployment: request lengths, arrivals and objectives."""
