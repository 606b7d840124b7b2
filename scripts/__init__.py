"""What the repository needs to run itself: the demo model, the tiny model, the demo."""
