"""What browsers are sent: the page."""
