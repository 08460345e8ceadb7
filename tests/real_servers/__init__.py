"""The examples under real servers, with several workers."""
