"""What is known about models, chips, systems and prices, each value with its source."""
