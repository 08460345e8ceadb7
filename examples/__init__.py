"""Two applications that a newcomer may copy, and `demo`, which starts one of them."""
