"""One file per question; each has `NAME` and `run(effort) -> Result`."""
