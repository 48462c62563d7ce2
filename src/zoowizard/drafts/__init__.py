"""What is known of a model, and what is asked."""
